"""What is logged and told by a look, and whom again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import msgspec

from hub.alerts.cause import Rule, Subject
from hub.alerts.watch import Alerts
from hub.facts import AlertCleared, AlertRaised
from hub.intake.mqtt.takeovers import Takeovers
from hub.log.recover import Recovered
from hub.payloads import AlertTold
from hub.words import AgentName, DeviceId, Event, Kind
from tests.alerts.a_hub import AGENT, AHub
from tests.alerts.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import pytest

    from hub.processes import Hub

DAMAGE = Subject(Rule.DAMAGE)
DAMAGE_TOPIC = "rl/v1/hub/alert/damage"


class Outside(AHub):
    """With a log and a broker, both of which keep what they are given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.events: list[Event] = []
        self.kept: dict[str, bytes] = {}
        self.log.append = self._append
        self.gate.announce = self.kept.__setitem__

    def alerts(self, damage: str | None = None) -> Alerts:
        """Of a hub that is started with what the log has."""
        alerts = Alerts(cast("Hub", self))
        alerts.restore(Recovered(list(self.events), [], 1), damage)
        return alerts

    def _append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        for event in events:
            self.events.append(msgspec.structs.replace(event, seq=len(self.events) + 1))
        committed(len(self.events))


def facts(hub: Outside) -> list[AlertRaised | AlertCleared]:
    """What the log was told."""
    return [
        msgspec.json.decode(event.payload or "", type=AlertRaised | AlertCleared)
        for event in hub.events
    ]


async def run_until(alerts: Alerts, condition: Callable[[], bool]) -> None:
    """Run it as the hub does, and end it."""
    running = asyncio.create_task(alerts.run())
    async with asyncio.timeout(10):
        while not condition():
            assert not running.done()
            await asyncio.sleep(0.001)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_damage_at_the_opening_is_logged_before_the_first_wait() -> None:
    hub = Outside(look_s=3600.0)
    await run_until(hub.alerts("events 5 to 9 are gone"), lambda: bool(hub.events))
    assert "events 5 to 9 are gone" in (hub.events[0].reason or "")


async def test_damage_at_the_opening_is_not_swallowed_by_the_damage_before() -> None:
    hub = Outside()
    await hub.alerts("events 5 to 9 are gone").look()
    await hub.alerts("events 5 to 9 are gone").look()
    assert len(hub.events) == 1, "a restart tells nothing twice"
    await hub.alerts("events 20 to 30 are gone").look()
    told = facts(hub)
    assert [type(fact) for fact in told] == [AlertRaised, AlertCleared, AlertRaised]
    assert "20 to 30" in told[-1].says


async def test_what_is_over_is_printed_as_what_is_raised_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = Outside(hold_s=0.0)
    alerts = hub.alerts()
    hub.archive.failed = "disk full"
    await alerts.look()
    hub.archive.failed = None
    await alerts.look()
    printed = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
    assert [line.partition(":")[0] for line in printed] == [
        "alert archive",
        "alert archive is over after 0 s",
    ]


async def test_two_under_one_id_are_still_two_when_the_hub_is_started_anew() -> None:
    hub = Outside(silent_s=0)
    hub.device()

    def take_over() -> None:
        hub.clock.seconds += 60
        hub.takeovers.note(
            AGENT, DeviceId("heater"), before="10.0.0.7", now="10.0.0.9", silent_s=60
        )

    for _ in range(8):
        take_over()
    await hub.alerts().look()
    assert len(hub.events) == 1
    hub.gate.takeovers = hub.takeovers = Takeovers(hub.clock)
    again = hub.alerts()
    for _ in range(8):
        await again.look()
        take_over()
    await again.look()
    assert len(hub.events) == 1, "neither over nor raised anew"
    hub.clock.seconds += 600
    await again.look()
    hub.clock.seconds += 60
    await again.look()
    assert [type(change) for change in facts(hub)] == [AlertRaised, AlertCleared]


async def test_a_clock_that_jumped_is_told_for_as_long_when_the_hub_is_started_anew() -> None:
    hub = Outside(hold_s=60.0, moment_s=3600.0)
    first = hub.alerts()
    first._of_hub.log_opened(hub.clock.now_us() + 86_400_000_000, None)
    await first.look()
    hub.clock.seconds += 1800
    again = hub.alerts()
    open_at = {}
    for after_s in (0, 600, 1700, 1900):
        hub.clock.seconds = 1900 + after_s
        await again.look()
        open_at[after_s] = bool(again.standing.open)
    assert open_at == {0: True, 600: True, 1700: True, 1900: False}


async def test_silent_devices_of_before_a_start_are_told_of_neither_too_early_nor_twice() -> None:
    hub = Outside(hold_s=60.0, silent_s=900.0, silent_named_max=1)
    for name in ("a", "b", "c"):
        hub.device(name)
    before = hub.alerts()
    hub.clock.seconds += 1000
    await before.look()
    assert len(hub.events) == 2, "one is named, and two are told together"
    again = hub.alerts()
    for device in hub.sessions.devices.values():
        device.taken = 0
    hub.sessions.devices[DeviceId("a")].taken = 1  # it was heard before the first look
    hub.sessions.devices[DeviceId("a")].heard_s = hub.clock.seconds
    for _ in range(89):
        await again.look()
        hub.clock.seconds += 10
    assert len(hub.events) == 2
    await again.look()
    hub.clock.seconds += 40
    await again.look()
    assert Subject(Rule.SILENT, AGENT) in again.standing.open
    assert len(hub.events) == 2


async def test_the_alert_of_a_device_that_is_forgotten_moved_or_without_agent_is_over_at_once() -> (
    None
):
    hub = Outside(silent_s=900.0)
    alerts = hub.alerts()
    for name in ("gone", "moved", "stays"):
        hub.device(name)
    hub.clock.seconds += 1000
    await alerts.look()
    del hub.registry.devices[DeviceId("gone")]
    hub.registry.devices[DeviceId("moved")] = AgentName("other")
    await alerts.look()
    assert [subject.device for subject in alerts.standing.open] == ["stays"]
    del hub.registry.agents[AGENT]
    await alerts.look()
    assert not alerts.standing.open


async def test_what_is_open_is_told_again_on_each_new_connection_to_the_broker() -> None:
    hub = Outside()
    hub.gate.connection = 0
    alerts = hub.alerts("events 5 to 9 are gone")
    await alerts.look()
    first = hub.kept.pop(DAMAGE_TOPIC)
    await alerts.look()
    assert hub.kept == {}, "there is nobody to be told"
    hub.gate.connection = 1
    await alerts.look()
    assert hub.kept[DAMAGE_TOPIC] == first
    hub.kept.clear()
    await alerts.look()
    assert hub.kept == {}, "the same broker has it"
    hub.gate.connection = 2
    await alerts.look()
    assert hub.kept[DAMAGE_TOPIC] == first


async def test_what_is_not_durable_is_not_told_on_a_new_connection_either() -> None:
    hub, waiting = Outside(), []
    hub.log.append = lambda events, committed: waiting.append((events, committed))
    alerts = hub.alerts("events 5 to 9 are gone")
    await alerts.look()
    hub.gate.connection = 2
    await alerts.look()
    assert DAMAGE_TOPIC not in hub.kept
    for _, committed in waiting:
        committed(7)
    assert msgspec.json.decode(hub.kept[DAMAGE_TOPIC], type=AlertTold).seq == 7


async def test_a_webhook_hears_at_the_start_that_the_hub_is_no_longer_not_ready() -> None:
    with Receiver() as receiver:
        hub = Outside(webhook=receiver.url, webhook_secret=SECRET)
        await run_until(hub.alerts(), lambda: bool(receiver.bodies))
        told = msgspec.json.decode(receiver.bodies[0], type=AlertTold)
        assert (told.rule, told.state, told.seq) == ("not_ready", "cleared", 0)


async def test_one_that_the_log_has_open_is_not_over_by_a_start() -> None:
    with Receiver() as receiver:
        hub = Outside(webhook=receiver.url, webhook_secret=SECRET, hold_s=0.0)
        fact = AlertRaised(Rule.NOT_READY, "it is behind", "look", 1, {})
        payload = msgspec.json.encode(fact).decode()
        hub.events.append(Event(Kind.ADMIN, hub.clock.now_us(), payload=payload, seq=1))
        await run_until(hub.alerts(), lambda: bool(receiver.bodies))
        told = msgspec.json.decode(receiver.bodies[0], type=AlertTold)
        assert told.says.startswith("over after")
        assert len(hub.events) == 2
