"""The learner's figures as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.learner_bench import LearnerFigures


def sections(figures: LearnerFigures) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of each part."""
    yield (
        "## An action in the actor",
        table(
            [
                "policy",
                "alone µs",
                "SB3's predict() µs",
                "each of 256 µs",
                "from frame to frame µs",
            ],
            (
                [
                    act.algorithm,
                    f"{act.alone_us:.1f}",
                    f"{act.predict_us:.1f}",
                    f"{act.batch_us:.2f}",
                    f"{act.frames_us:.2f}",
                ]
                for act in figures.acts
            ),
        ),
    )
    yield (
        "## Observation to action while another process trains, ms",
        table(
            ["training", "actions", "p50", "p99", "longest"],
            (
                [
                    late.training,
                    f"{late.actions:,}",
                    f"{late.p50_ms:.2f}",
                    f"{late.p99_ms:.2f}",
                    f"{late.max_ms:.2f}",
                ]
                for late in figures.lateness
            ),
        ),
    )
    yield (
        "## Training beside Stable-Baselines3's `learn()` without its environment",
        table(
            ["algorithm", "transitions", "trainer s", "learn() s", "ratio"],
            (
                [
                    one.algorithm,
                    f"{one.transitions:,}",
                    f"{one.trainer_s:.2f}",
                    f"{one.learn_s:.2f}",
                    f"{one.ratio:.2f}",
                ]
                for one in figures.throughputs
            ),
        ),
    )
    yield (
        "## A policy made again from the log of four devices",
        table(
            ["algorithm", "transitions", "per s", "bit for bit"],
            (
                [
                    one.algorithm,
                    f"{one.transitions:,}",
                    f"{one.transitions_per_s:,.0f}",
                    "yes" if one.equal else "NO",
                ]
                for one in figures.refolded
            ),
        ),
    )
