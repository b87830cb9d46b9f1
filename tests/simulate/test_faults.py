"""Faults are as asked, by seed, counted, and noticed by a device as a real one notices them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from hub.clock import SystemClock
from hub.errors import OperatorFault
from hub.payloads import Act
from hub.simulate.exchange import Said, answered
from hub.simulate.fate import BadLine, Fate, Made
from hub.simulate.faults import Chance, Delay, Faults, read_delay, read_rate, read_share
from tests.intake.fakes import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable


class Line:
    """An exchange that answers at once, and knows what it was told."""

    numbered = True

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.heard: list[int] = []
        self.abandoned = 0

    async def ask(self, said: Said) -> Act:
        self.heard.append(said.s)
        return Act(said.s, 1)

    async def send(self, said: Said) -> None:
        self.heard.append(said.s)

    def abandon(self) -> None:
        self.abandoned += 1

    def close(self) -> None:
        pass


class Waited:
    """A pause that takes no time but others' turns."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.turns_per_s = 0

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        for _ in range(1 + round(seconds * self.turns_per_s)):
            await asyncio.sleep(0)


def fated(faults: Faults, *, ordered: bool = True) -> tuple[BadLine, Line, Made, Waited]:
    line, made, waited = Line(ordered=ordered), Made(), Waited()
    fate = Fate(faults, Chance(1), made, clock=SystemClock(), pause=waited)
    return BadLine(line, fate), line, made, waited


async def walk(line: BadLine, waited: Waited, steps: int = 200) -> int:
    """Repeats it took."""
    repeats = 0
    for step in range(steps):
        said = Said(step, [0.0])
        repeats += (await answered(line, said, clock=SystemClock(), pause=waited)).repeats
    return repeats


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("0", 0), ("99.5%", 0.995)]
)
def test_a_share_is_a_percentage_or_a_number(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "mean_s", "spread_s"),
    [
        ("50ms", 0.05, 0),
        ("50ms±20", 0.05, 0.02),
        ("50ms+-20ms", 0.05, 0.02),
        ("1s±500ms", 1, 0.5),
        ("0.5s+/-0.25", 0.5, 0.25),
        ("0ms", 0, 0),
    ],
)
def test_a_delay_has_a_unit_and_perhaps_a_spread(text: str, mean_s: float, spread_s: float) -> None:
    delay = read_delay(text)
    assert (delay.mean_s, delay.spread_s) == pytest.approx((mean_s, spread_s))


@pytest.mark.parametrize(
    ("text", "mean_s"), [("1/h", 3600), ("3/min", 20), ("0.1/s", 10), ("0/h", math.inf)]
)
def test_a_rate_is_so_many_in_a_time(text: str, mean_s: float) -> None:
    assert read_rate(text) == pytest.approx(mean_s)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(read_share, text) for text in ("", "100%", "1", "-1%", "2 %%", "half", "1e9")],
        *[(read_delay, text) for text in ("", "50", "ms", "-5ms", "50ms±", "2h", "61s", "59s±2")],
        *[(read_rate, text) for text in ("", "1", "1/y", "1/", "/h", "-1/h", "x/h")],
    ],
)
def test_what_is_none_is_refused_with_what_to_write(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(OperatorFault):
        read(text)


async def test_on_a_good_line_nothing_happens() -> None:
    line, inner, made, waited = fated(Faults())
    assert await walk(line, waited) == 0
    assert (inner.heard, made, waited.seconds) == (list(range(200)), Made(), [])


async def test_what_is_lost_is_asked_again_and_arrives_once_or_twice() -> None:
    line, inner, made, waited = fated(Faults(lost=0.1))
    repeats = await walk(line, waited)
    assert repeats == made.lost > 20
    assert set(inner.heard) == set(range(200))
    assert 200 < len(inner.heard) < 200 + made.lost, (
        "some were lost on the way, some on the way back"
    )


async def test_what_is_repeated_arrives_twice() -> None:
    line, inner, made, waited = fated(Faults(repeated=0.2))
    assert await walk(line, waited) == 0
    await asyncio.sleep(0)
    assert len(inner.heard) == 200 + made.repeated > 220


async def test_a_late_copy_is_overtaken() -> None:
    line, inner, _, waited = fated(Faults(repeated=0.5, delay=Delay(0.05, 0.04)))
    waited.turns_per_s = 200
    await walk(line, waited)
    assert inner.heard != sorted(inner.heard)
    assert min(waited.seconds) >= 0.01
    assert max(waited.seconds) <= 0.09


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_copy_goes_down_with_its_connection_but_a_request_does_not(
    *, ordered: bool
) -> None:
    line, inner, _, _ = fated(Faults(repeated=0.999, delay=Delay(0.05)), ordered=ordered)
    await line.ask(Said(1, [0.0]))
    line.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert inner.heard == ([1] if ordered else [1, 1])


async def test_a_half_open_connection_is_left_before_the_next_message() -> None:
    clock, made, inner = ManualClock(), Made(), Line(ordered=True)
    fate = Fate(Faults(link_s=10), Chance(1), made, clock=clock, pause=asyncio.sleep)
    line = BadLine(inner, fate)
    for _ in range(1000):
        clock.seconds += 1
        await line.ask(Said(0, [0.0]))
    assert 70 < made.half_open == inner.abandoned < 130


def test_reboots_come_so_many_an_hour() -> None:
    clock, made = ManualClock(), Made()
    fate = Fate(Faults(boot_s=3600), Chance(1), made, clock=clock, pause=asyncio.sleep)
    hours = 100
    rebooted = 0
    for _ in range(hours * 60):
        clock.seconds += 60
        rebooted += fate.reboots()
    assert 70 < rebooted == made.reboots < 130


def test_the_same_seed_is_the_same_fate() -> None:
    def drawn(seed: int) -> list[float]:
        chance = Chance([seed, 3])
        return [chance.wait(1), chance.delay_s(Delay(1, 1)), float(chance.happens(0.5))]

    assert drawn(1) == drawn(1) != drawn(2)
