"""What each rule sees, and what it does not take for trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import structs

from hub.alerts.cause import Rule, Subject
from hub.alerts.of_agents import OfAgents
from hub.alerts.standing import Open, Standing
from hub.alerts.watch import Alerts
from hub.facts import AgentMade, AlertRaised, PolicyMade
from hub.intake.mqtt.takeovers import DEVICES_MAX
from hub.learner.messages import policy_path
from hub.learner.processes.child import FAILURES, Trouble
from hub.log.recover import Recovered, Tail
from hub.registry.fold import HUB, Policy
from hub.words import AgentName, DeviceId, EndedBy, Event, Kind
from tests.alerts.a_hub import AGENT, AHub
from tests.log.events import text

if TYPE_CHECKING:
    from pathlib import Path

    from hub.alerts.cause import Cause
    from hub.processes import Hub

HEATER = Subject(Rule.SILENT, AGENT, "heater")


def opened(hub: AHub, subject: Subject, **figures: float) -> None:
    fact = AlertRaised(subject.rule, "it was so", "look", hub.clock.now_us(), figures)
    hub.open[subject] = Open(fact, hub.clock.now_us())


async def seen(hub: AHub, rule: Rule) -> list[Cause]:
    causes = [*await hub.see(), *await hub.of_hub.look()]
    return [cause for cause in causes if cause.subject.rule == rule]


# --- silent ----------------------------------------------------------------------------------


async def test_a_device_that_is_not_heard_for_long_is_silent() -> None:
    hub = AHub(silent_s=900)
    device = hub.device()
    hub.clock.seconds += 900
    assert await seen(hub, Rule.SILENT) == []
    hub.clock.seconds += 1
    (cause,) = await seen(hub, Rule.SILENT)
    assert cause.subject == HEATER
    assert cause.figures == {"silent_s": 901, "limit_s": 900.25}
    assert cause.says.endswith("has not been heard since 2023-11-14 22:15:00 UTC")
    device.heard_s = hub.clock.seconds
    assert await seen(hub, Rule.SILENT) == []


async def test_an_agent_whose_devices_may_rest_for_longer_is_heeded() -> None:
    hub = AHub(silent_s=900)
    hub.declare(silent_s=3600.0)
    hub.device()
    hub.clock.seconds += 3000
    assert await seen(hub, Rule.SILENT) == []
    hub.clock.seconds += 1000
    assert len(await seen(hub, Rule.SILENT)) == 1


@pytest.mark.parametrize(
    ("name", "columns"),
    [("heater", {"status": "paused"}), ("http-7", {})],
    ids=["of a paused agent", "a visitor"],
)
async def test_these_may_be_silent(name: str, columns: dict[str, Any]) -> None:
    hub = AHub(silent_s=900)
    hub.declare(**columns)
    hub.device(name)
    hub.clock.seconds += 10_000
    assert await seen(hub, Rule.SILENT) == []


async def test_a_device_that_never_sent_anything_or_has_no_agent_is_not_silent() -> None:
    hub = AHub(silent_s=900)
    hub.device("new").count = None
    hub.device("gone")
    del hub.registry.devices[DeviceId("gone")]
    hub.device("orphan", AgentName("deleted"))
    hub.clock.seconds += 10_000
    assert await seen(hub, Rule.SILENT) == []


async def test_nobody_is_silent_for_the_time_that_the_hub_did_not_run() -> None:
    hub = AHub(silent_s=900)
    device = hub.device()
    device.taken, device.heard_s = 0, hub.clock.seconds - 100_000
    assert await seen(hub, Rule.SILENT) == []
    hub.clock.seconds += 901
    assert len(await seen(hub, Rule.SILENT)) == 1


async def test_a_device_that_was_silent_before_the_start_is_so_until_it_is_heard() -> None:
    hub = AHub(silent_s=900)
    device = hub.device()
    device.taken, device.heard_s = 0, hub.clock.seconds - 100_000
    opened(hub, HEATER)
    assert len(await seen(hub, Rule.SILENT)) == 1
    device.taken, device.heard_s = 1, hub.clock.seconds
    assert await seen(hub, Rule.SILENT) == []


async def test_when_many_are_silent_some_are_named_and_the_others_one_alert() -> None:
    hub = AHub(silent_s=900, silent_named_max=3)
    for number in range(600):
        hub.device(f"d-{number:03}")
    opened(hub, Subject(Rule.SILENT, AGENT, "d-500"))
    hub.clock.seconds += 1000
    causes = await seen(hub, Rule.SILENT)
    assert [cause.subject.device for cause in causes] == ["d-500", "d-000", "d-001", ""]
    assert "597 more devices" in causes[-1].says
    assert causes[-1].figures == {"devices": 600, "limit_s": 900.25}


async def test_those_that_were_heard_again_and_are_open_count_among_the_named() -> None:
    hub = AHub(silent_s=900, silent_named_max=2)
    for number in range(4):
        hub.device(f"d-{number}")
    hub.clock.seconds += 1000
    for name in ("d-0", "d-1"):
        opened(hub, Subject(Rule.SILENT, AGENT, name))
    hub.sessions.devices[DeviceId("d-0")].heard_s = hub.clock.seconds
    causes = await seen(hub, Rule.SILENT)
    assert [cause.subject.device for cause in causes] == ["d-1", ""]
    assert "2 more devices" in causes[-1].says


async def test_what_is_open_stays_named_when_fewer_may_be() -> None:
    hub = AHub(silent_s=900, silent_named_max=1)
    for number in range(3):
        hub.device(f"d-{number}")
        opened(hub, Subject(Rule.SILENT, AGENT, f"d-{number}"))
    hub.clock.seconds += 1000
    causes = await seen(hub, Rule.SILENT)
    assert [cause.subject.device for cause in causes] == ["d-0", "d-1", "d-2"]


@pytest.mark.parametrize("look_s", [7.0, 10.0, 11.3])
async def test_a_device_that_speaks_too_seldom_all_day_is_one_alert(look_s: float) -> None:
    hub, standing, changes = AHub(silent_s=900, look_s=look_s), Standing(), []
    of_agents = OfAgents(cast("Hub", hub), standing.open)
    device = hub.device()
    for number in range(int(86_400 / look_s)):
        hub.clock.seconds = 100 + number * look_s
        device.heard_s = 100 + number * look_s // 1200 * 1200
        causes = await of_agents.look()
        changes += standing.look(causes, hub.clock.monotonic(), hub.clock.now_us())
    assert [type(change.fact) for change in changes] == [AlertRaised]


# --- same_id ---------------------------------------------------------------------------------

BOTH = ("10.0.0.7", "10.0.0.9")


def fight(
    hub: AHub,
    times: int,
    addresses: tuple[str, ...] = BOTH,
    every_s: float = 1.0,
    agent: AgentName = AGENT,
    device: str = "heater",
) -> None:
    """The device's connection is taken over from one address after the other, silent meanwhile."""
    for i in range(times):
        hub.clock.seconds += every_s
        before, now = (addresses[(i + shift) % len(addresses)] for shift in (0, 1))
        hub.takeovers.note(agent, DeviceId(device), before=before, now=now, silent_s=every_s)


async def test_a_device_that_is_taken_over_again_and_again_is_two() -> None:
    hub = AHub(same_id_times=8, same_id_s=600)
    hub.device()
    fight(hub, 7)
    assert await seen(hub, Rule.SAME_ID) == []
    fight(hub, 1)
    (cause,) = await seen(hub, Rule.SAME_ID)
    assert cause.subject == Subject(Rule.SAME_ID, AGENT, "heater")
    assert cause.says == (
        "the connection of device 'heater' of agent 'walker' was taken over by another 8 times "
        "within 7 s, from 10.0.0.9 and 10.0.0.7"
    )
    assert cause.figures == {"times": 8, "within_s": 7}
    hub.clock.seconds += 593.5
    assert await seen(hub, Rule.SAME_ID) == [], "it ends by itself"


@pytest.mark.parametrize(
    ("addresses", "whence"),
    [
        (("10.0.0.7",), "all from 10.0.0.7"),
        (("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"), "10.0.0.1 and 10.0.0.4 and 2 more"),
    ],
)
async def test_it_is_said_whence_they_come(addresses: tuple[str, ...], whence: str) -> None:
    hub = AHub(same_id_times=8)
    hub.device()
    fight(hub, 8, addresses)
    (cause,) = await seen(hub, Rule.SAME_ID)
    assert cause.says.endswith(whence)


async def test_a_line_that_breaks_now_and_then_is_one_device() -> None:
    hub = AHub(same_id_times=8, same_id_s=600)
    hub.device()
    fight(hub, 40, every_s=90)
    assert await seen(hub, Rule.SAME_ID) == []


@pytest.mark.parametrize("every_s", [30.0, 60.0])
async def test_one_device_that_sleeps_without_a_goodbye_is_one(every_s: float) -> None:
    sleeps, two = AHub(), AHub()
    for hub, addresses in ((sleeps, BOTH[:1]), (two, BOTH)):
        hub.device()
        fight(hub, 40, addresses, every_s)
    assert await seen(sleeps, Rule.SAME_ID) == []
    assert len(await seen(two, Rule.SAME_ID)) == 1, "as slow as that two may be, at two addresses"


async def test_its_next_owner_is_not_told_of_what_was_another_agents() -> None:
    hub = AHub()
    hub.device(agent=AgentName("runner"))
    fight(hub, 8)
    assert await seen(hub, Rule.SAME_ID) == []
    fight(hub, 7, agent=AgentName("runner"))
    assert await seen(hub, Rule.SAME_ID) == []


async def test_who_shall_not_hear_of_takeovers_and_a_forgotten_device_raise_none() -> None:
    never = AHub(same_id_times=0)
    never.device()
    fight(never, 100)
    assert await seen(never, Rule.SAME_ID) == []
    forgotten = AHub(same_id_times=8)
    fight(forgotten, 100)
    assert await seen(forgotten, Rule.SAME_ID) == []


async def test_of_a_whole_fleet_under_one_id_each_some_are_named_and_the_others_are_one_alert() -> (
    None
):
    hub = AHub(silent_named_max=2)
    for name in "abcde":
        hub.device(name)
        fight(hub, 8, device=name)
    causes = await seen(hub, Rule.SAME_ID)
    assert [cause.subject.device for cause in causes] == ["a", "b", ""]
    assert causes[2].says == (
        "the connections of 3 more devices of agent 'walker' were taken over by others 8 times "
        "each, as that of 'c', from 10.0.0.7 and 10.0.0.9"
    )
    assert causes[2].figures == {"devices": 3, "times": 8}
    for device in "de":
        opened(hub, Subject(Rule.SAME_ID, AGENT, device))
    causes = await seen(hub, Rule.SAME_ID)
    assert [cause.subject.device for cause in causes] == ["d", "e", ""], "who is named stays so"


async def test_only_so_many_devices_are_remembered() -> None:
    hub = AHub(same_id_times=1)
    hub.device("first")
    hub.device("second")
    for name in ("first", "second", *(f"other-{i}" for i in range(DEVICES_MAX - 1))):
        device = DeviceId(name)
        hub.takeovers.note(AGENT, device, before="10.0.0.7", now="10.0.0.9", silent_s=1)
    (cause,) = await seen(hub, Rule.SAME_ID)
    assert cause.subject.device == "second"


# --- falling ---------------------------------------------------------------------------------


async def earned(hub: AHub, returned: float, episodes: int, **how: Any) -> None:
    device = hub.device()
    for number in range(episodes):
        hub.earn(device, returned + number % 3, **how)
        await hub.see()


async def test_an_agent_that_earns_less_than_it_did_is_seen() -> None:
    hub = AHub(return_episodes=5)
    await earned(hub, 200, 20)
    assert await seen(hub, Rule.FALLING) == []
    await earned(hub, 100, 10)
    (cause,) = await seen(hub, Rule.FALLING)
    assert cause.figures["best"] > 199 > 110 > cause.figures["now"]
    assert "agent 'walker' earns 10" in cause.says


async def test_episodes_that_were_cut_off_say_nothing_of_the_policy() -> None:
    hub = AHub(return_episodes=5)
    await earned(hub, 200, 20)
    await earned(hub, 3, 20, ended_by=EndedBy.GAP)
    assert await seen(hub, Rule.FALLING) == []


async def test_another_reward_or_a_cleared_curve_begins_anew() -> None:
    hub = AHub(return_episodes=5)
    await earned(hub, 200, 20)
    hub.registry.cleared_us[AGENT] = 5
    await earned(hub, 100, 20)
    assert await seen(hub, Rule.FALLING) == []
    hub.declare(max_episode_steps=10)
    await earned(hub, 20, 20)
    assert await seen(hub, Rule.FALLING) == []


async def test_a_fall_from_before_the_start_lasts_until_it_is_made_good() -> None:
    hub = AHub(return_episodes=5)
    opened(hub, Subject(Rule.FALLING, AGENT), best=200.0, now=100.0, episodes=5.0)
    await earned(hub, 100, 20)
    assert len(await seen(hub, Rule.FALLING)) == 1
    await earned(hub, 190, 5)
    assert await seen(hub, Rule.FALLING) == []


async def test_a_device_that_counts_its_episodes_anew_is_heard() -> None:
    hub = AHub(return_episodes=5)
    await earned(hub, 200, 20)
    device = hub.device()
    device.episodes, device.ended = 0, None
    await earned(hub, 100, 10)
    assert len(await seen(hub, Rule.FALLING)) == 1


# --- learners --------------------------------------------------------------------------------


async def test_a_trainer_is_behind_above_its_limit_and_until_half_is_left() -> None:
    hub = AHub(lag_s=300)
    hub.declare(lag_max=100)
    found = []
    for waiting in (100, 101, 60, 51, 50, 60, 0):
        hub.pool.waiting[AGENT] = waiting
        found.append(len(await seen(hub, Rule.LAG)))
    assert found == [0, 1, 1, 1, 0, 0, 0]
    hub.pool.waiting[AGENT] = 300
    (cause,) = await seen(hub, Rule.LAG)
    assert (cause.raise_s, cause.figures) == (300, {"waiting": 300, "lag_max": 100})


async def test_a_learner_that_ended_some_times_in_a_row_is_failing_and_says_why() -> None:
    hub = AHub()
    hub.pool.of[AGENT] = [("trainer", Trouble(FAILURES - 1, "MemoryError"))]
    assert await seen(hub, Rule.FAILING) == []
    hub.pool.of[AGENT] = [("trainer", Trouble(FAILURES, "MemoryError"))]
    (cause,) = await seen(hub, Rule.FAILING)
    assert "trainer of agent 'walker' ended 5 times in a row" in cause.says
    assert "MemoryError" in cause.says


async def test_whether_an_agent_that_sleeps_would_fail_nobody_knows() -> None:
    hub = AHub()
    hub.pool.asleep.add(AGENT)
    assert await seen(hub, Rule.FAILING) == []
    opened(hub, Subject(Rule.FAILING, AGENT))
    assert len(await seen(hub, Rule.FAILING)) == 1


async def test_an_agent_that_the_hub_paused_is_an_alert_until_somebody_resumes_it() -> None:
    hub = AHub()

    def make(status: Any, by: str) -> None:
        agent = structs.replace(hub.registry.agents[AGENT].agent, status=status)
        payload = text(AgentMade(agent, by))
        hub.registry.apply(Event(Kind.ADMIN, 1, AGENT, reason="clamped", payload=payload))

    make("paused", "ann")
    assert await seen(hub, Rule.PAUSED) == []
    make("active", "ann")
    make("paused", HUB)
    make("paused", "ann")  # who changes anything else has not resumed it
    assert [cause.says for cause in await seen(hub, Rule.PAUSED)] == ["clamped"]
    make("active", "ann")
    assert await seen(hub, Rule.PAUSED) == []


# --- the hub ---------------------------------------------------------------------------------


async def test_a_process_that_ends_again_and_again_is_failing_for_ten_minutes() -> None:
    hub = AHub()
    for _ in range(FAILURES - 1):
        hub.log.restarts += 1
        assert await seen(hub, Rule.FAILING) == []
    hub.clock.seconds += 601
    hub.log.restarts += 1
    assert await seen(hub, Rule.FAILING) == [], "not within ten minutes"
    hub.analyst.restarts += 100
    (cause,) = await seen(hub, Rule.FAILING)
    assert "'analyst' ended 5 times within 10 min" in cause.says
    hub.clock.seconds += 601
    assert await seen(hub, Rule.FAILING) == []


async def test_the_process_for_other_hubs_is_failing_too() -> None:
    hub = AHub()
    hub.federation.trouble = Trouble(FAILURES, "exit code 1")
    (cause,) = await seen(hub, Rule.FAILING)
    assert "for other hubs" in cause.says


async def test_a_hub_that_is_not_ready_or_can_make_no_segments_says_why() -> None:
    hub = AHub(hold_s=60)
    hub.reason = "the log is behind"
    (cause,) = await seen(hub, Rule.NOT_READY)
    assert cause.says.endswith(": the log is behind")
    assert cause.raise_s == 60
    hub.archive.failed = "disk full"
    (cause,) = await seen(hub, Rule.ARCHIVE)
    assert "disk full" in cause.says


@pytest.mark.parametrize(("moved_s", "way"), [(3600.0, "forward"), (-7200.0, "back")])
async def test_a_clock_that_jumps_is_seen_once_and_its_alert_stays(
    moved_s: float, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = AHub(clock_jump_s=2, moment_s=3600)
    hub.clock.seconds += 500
    assert await seen(hub, Rule.CLOCK) == []
    before = hub.clock.now_us
    monkeypatch.setattr(hub.clock, "now_us", lambda: before() + int(moved_s * 1e6))
    (cause,) = await seen(hub, Rule.CLOCK)
    assert f"jumped {way}" in cause.says
    assert cause.figures == {"jumped_s": moved_s}
    assert cause.clear_s == 3600
    assert await seen(hub, Rule.CLOCK) == []


async def test_a_clock_behind_the_log_s_newest_event_is_seen_at_the_start() -> None:
    hub = AHub()
    hub.of_hub.log_opened(hub.clock.now_us() + 86_400_000_000, damage=None)
    (cause,) = await seen(hub, Rule.CLOCK)
    assert "24.0 h behind the newest event" in cause.says
    hub.of_hub.log_opened(hub.clock.now_us() - 5, damage=None)
    assert await seen(hub, Rule.CLOCK) == []


async def test_one_wrong_time_in_the_past_is_not_told_at_every_start() -> None:
    """The log's order is that of seq: what came after the wrong time has the right one."""
    hub = AHub()
    now_us = hub.clock.now_us()
    wrong = Event(Kind.ADMIN, now_us + 86_400_000_000, payload="{}", seq=3)
    last = Event(Kind.OBSERVATION, now_us - 5, AGENT, "heater", seq=4)
    alerts = Alerts(cast("Hub", hub))
    alerts.restore(Recovered([wrong], [Tail("heater", [last], None)], 1), None)
    await alerts.look()
    assert alerts.standing.open == {}
    alerts.restore(Recovered([wrong], [], 1), None)
    await alerts.look()
    assert list(alerts.standing.open) == [Subject(Rule.CLOCK)]


async def test_a_log_that_was_damaged_when_it_was_opened_is_told_once() -> None:
    hub = AHub()
    hub.of_hub.log_opened(0, "events 5 to 9 are gone")
    (cause,) = await seen(hub, Rule.DAMAGE)
    assert "events 5 to 9 are gone" in cause.says
    assert cause.clear_s == 3600
    assert await seen(hub, Rule.DAMAGE) == []


async def test_damaged_segments_are_so_until_they_were_read_and_well() -> None:
    hub = AHub()
    opened(hub, Subject(Rule.DAMAGE))
    (cause,) = await seen(hub, Rule.DAMAGE)
    assert cause.clear_s == 3600, "not read since the start"
    hub.segments.problems = ["segment a is broken", "segment b is gone"]
    (cause,) = await seen(hub, Rule.DAMAGE)
    assert cause.says == "segment a is broken (2 problems in all)"
    hub.segments.problems = []
    assert await seen(hub, Rule.DAMAGE) == []


async def test_a_disk_must_hold_two_checkpoints_of_all_agents(tmp_path: Path) -> None:
    hub = AHub(tmp_path, disk_free_mb=0)
    assert await seen(hub, Rule.DISK) == []
    sha256 = "ab" * 32
    hub.registry.policies[AGENT] = Policy(1, PolicyMade(sha256, None, 0))
    assert await seen(hub, Rule.DISK) == [], "a file that has just been replaced takes nothing"
    path = policy_path(tmp_path, AGENT, sha256)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 42)  # 4 TiB that take no room themselves
    (cause,) = await seen(hub, Rule.DISK)
    assert cause.figures["checkpoints_mb"] == pytest.approx(1 << 22, abs=3)
    assert cause.figures["limit_mb"] == pytest.approx(2 * (1 << 22) + 96, abs=6)


async def test_a_folder_that_can_t_be_asked_is_told(tmp_path: Path) -> None:
    hub = AHub(tmp_path / "gone")
    (cause,) = await seen(hub, Rule.DISK)
    assert "can't be asked" in cause.says


async def test_an_open_disk_alert_is_over_when_there_is_some_more_room() -> None:
    hub = AHub(disk_free_mb=0)
    (free_mb,) = [c.figures["free_mb"] for c in await seen(AHub(disk_free_mb=1e15), Rule.DISK)]
    hub.settings = structs.replace(
        hub.settings, alerts=structs.replace(hub.settings.alerts, disk_free_mb=free_mb * 0.95)
    )
    hub.of_hub._settings = hub.settings.alerts
    assert await seen(hub, Rule.DISK) == []
    opened(hub, Subject(Rule.DISK))
    assert len(await seen(hub, Rule.DISK)) == 1
