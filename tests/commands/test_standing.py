"""What came between two pictures of a hub."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from hub.commands.standing import Took, between
from hub.figures import AgentFigures, DeviceFigures, Figures, Watched
from hub.histogram import Histogram, Seen


def took(*values: int) -> Seen:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.seen()


AGENT: Final = AgentFigures(
    "a", "PPO", "shared", "active", True, 1, {"policy": 10}, {"shape": 1}, 0, took(1), took(4), 3, 0
)
DEVICE: Final = DeviceFigures("d", "a", True, 10, 1, 0.5, None)
HUB: Final = Figures(
    "1",
    100.0,
    None,
    20,
    0,
    0.0,
    False,
    took(9),
    took(2),
    1,
    1,
    1,
    1,
    0,
    0,
    0,
    {},
    [],
    {},
    None,
    {},
    [AGENT],
)
EARLY: Final = Watched(HUB, [DEVICE])


def later(seconds: float, agent: AgentFigures, taken: int, seq: int) -> Watched:
    hub = structs.replace(HUB, at_s=100.0 + seconds, seq=seq, agents=[agent])
    return Watched(hub, [structs.replace(DEVICE, taken=taken)])


def test_rates_are_of_the_time_between_two_looks() -> None:
    agent = structs.replace(
        AGENT,
        sent={"policy": 26, "fallback": 4},
        refused={"shape": 3},
        answered_us=took(4, 2000, 2000),
    )
    standing = between(EARLY, later(2.0, agent, taken=30, seq=60))
    (one,), (device,) = standing.agents, standing.devices
    assert (one.steps_per_s, one.fallbacks_per_s, one.refused_per_s) == (10.0, 2.0, 1.0)
    assert (device.steps_per_s, standing.steps_per_s, standing.events_per_s) == (10.0, 10.0, 20.0)
    assert one.answered.p99_ms is not None
    assert abs(one.answered.p99_ms - 2.0) < 0.25
    assert one.chosen == Took(None, None), "nothing was chosen meanwhile"


def test_after_a_restart_of_the_hub_there_is_no_rate_below_zero() -> None:
    standing = between(later(50.0, AGENT, taken=900, seq=900), EARLY)
    assert (standing.steps_per_s, standing.events_per_s) == (0.0, 0.0)
    assert standing.devices[0].steps_per_s == 0.0
