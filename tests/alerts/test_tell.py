"""What subscribers are told at the start: what is open, and that the rest is over."""

from __future__ import annotations

import msgspec

from hub.alerts.cause import Rule, Subject
from hub.alerts.standing import Change, Standing
from hub.alerts.tell import Tell
from hub.facts import AlertCleared, AlertRaised
from hub.payloads import AlertTold
from hub.words import Event, Kind

HEATER = Subject(Rule.SILENT, "heating", "heater-1")
NOW_US = 1_800_000_000_500_000


class Broker:
    """Keeps what is retained, as one does while the hub is away."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def announce(self, topic: str, payload: bytes) -> None:
        self.kept.pop(topic, None)
        if payload:
            self.kept[topic] = payload


def telling(broker: Broker) -> Tell:
    return Tell("rl/v1", lambda: "hub-1", broker.announce, None)


def logged(subject: Subject, fact: AlertRaised | AlertCleared, seq: int) -> Event:
    payload = msgspec.json.encode(fact).decode()
    return Event(
        Kind.ADMIN, NOW_US, agent=subject.agent, device=subject.device, payload=payload, seq=seq
    )


def raised(subject: Subject) -> AlertRaised:
    return AlertRaised(subject.rule, "it is so", "look", NOW_US - 5_000_000, {"silent_s": 5.0})


def test_what_is_told_names_subject_event_and_what_to_do() -> None:
    broker = Broker()
    telling(broker).change(Change(HEATER, raised(HEATER)), NOW_US, 7)
    told = msgspec.json.decode(
        broker.kept["rl/v1/agents/heating/alert/silent/heater-1"], type=AlertTold
    )
    assert (told.rule, told.agent, told.device, told.hub, told.seq) == (*HEATER, "hub-1", 7)
    assert (told.state, told.do, told.ts - told.since) == ("raised", "look", 5)
    telling(broker).change(Change(HEATER, AlertCleared("silent", "over")), NOW_US, 8)
    assert broker.kept == {}


def test_at_the_start_what_is_open_is_told_as_it_was_and_what_is_over_taken_back() -> None:
    broker, disk, lag = Broker(), Subject(Rule.DISK), Subject(Rule.LAG, "heating")
    for subject in (HEATER, lag, Subject(Rule.NOT_READY)):
        telling(broker).change(Change(subject, raised(subject)), NOW_US, 0)
    standing = Standing()
    standing.apply(logged(lag, raised(lag), 3))
    standing.apply(logged(HEATER, raised(HEATER), 4))
    standing.apply(logged(lag, AlertCleared("lag", "over"), 5))
    standing.apply(logged(disk, raised(disk), 6))
    telling(broker).all(standing)
    assert sorted(broker.kept) == [
        "rl/v1/agents/heating/alert/silent/heater-1",
        "rl/v1/hub/alert/disk",
    ]
    assert msgspec.json.decode(broker.kept["rl/v1/hub/alert/disk"], type=AlertTold).seq == 6


def test_one_that_was_raised_again_is_not_taken_back() -> None:
    broker, standing = Broker(), Standing()
    standing.apply(logged(HEATER, raised(HEATER), 1))
    standing.apply(logged(HEATER, AlertCleared("silent", "over"), 2))
    standing.apply(logged(HEATER, raised(HEATER), 3))
    telling(broker).all(standing)
    assert len(broker.kept) == 1
