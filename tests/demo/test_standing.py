"""What the demo shows is what the devices reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.demo.curve import EndedEpisode, draw_in_terminal, save, trace
from hub.demo.fleet import muster
from hub.simulate.exchange import Way
from hub.simulate.progress import Progress
from hub.simulate.standing import EPISODES_JUDGED, SOLVED_RETURN, Standing

if TYPE_CHECKING:
    from pathlib import Path


def progress(
    device: str, *, steps: int = 0, returns: list[float] | None = None, policy: int | None = None
) -> Progress:
    return Progress(device, steps, repeats=0, returns=returns or [], latencies_ms=[], policy=policy)


def test_solved_needs_enough_episodes_of_all_devices_together() -> None:
    standing = Standing(["a", "b"], now=0)
    for i in range(EPISODES_JUDGED - 1):
        standing.add(progress("ab"[i % 2], returns=[500.0]), now=0)
    assert not standing.solved
    standing.add(progress("a", returns=[SOLVED_RETURN]), now=0)
    assert standing.solved


def test_old_episodes_do_not_count() -> None:
    standing = Standing(["a"], now=0)
    standing.add(progress("a", returns=[500.0] * 100 + [0.0] * EPISODES_JUDGED), now=0)
    assert standing.mean_return == 0.0


def test_rate_is_that_of_the_last_seconds() -> None:
    standing = Standing(["a", "b"], now=0)
    for second in range(1, 20):
        standing.add(progress("a", steps=100 * second), now=second)
    assert standing.total_steps == 1900
    assert standing.actions_per_s == pytest.approx(100)


def test_latency_quantiles_are_of_the_newest_steps() -> None:
    standing = Standing(["a"], now=0)
    assert standing.latency_ms(0.5) is None
    line = Progress("a", 100, 0, returns=[], latencies_ms=[float(i) for i in range(100)], policy=3)
    standing.add(line, now=1)
    assert standing.latency_ms(0.5) == 50
    assert standing.latency_ms(0.99) == 99


def test_policy_is_the_newest_version_any_device_heard_of() -> None:
    standing = Standing(["a", "b"], now=0)
    for device, policy in (("a", 4), ("b", 3), ("a", None)):
        standing.add(progress(device, policy=policy), now=0)
    assert standing.policy == 4


def test_four_devices_speak_all_protocols() -> None:
    protocols = [member.protocol for member in muster(4)]
    assert protocols == [Way.MQTT, Way.MQTT, Way.HTTP, Way.SHEPHERD]
    assert muster(5)[4].protocol is Way.MQTT


def test_the_curve_counts_the_steps_of_all_episodes() -> None:
    curve = trace([EndedEpisode(10, 10.0), EndedEpisode(30, 30.0)])
    assert curve.steps == [10.0, 40.0]
    assert curve.means == [10.0, 20.0]


def test_the_curve_is_drawn_as_text_png_and_svg(tmp_path: Path) -> None:
    curve = trace([EndedEpisode(i, float(i)) for i in range(1, 100)])
    text = draw_in_terminal(curve)
    assert "mean return" in text
    assert "\x1b" not in text
    png, svg = save(curve, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
