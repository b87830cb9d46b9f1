"""`sheepfold top`: what a hub does now, again and again."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hub import control
from hub.alerts.cause import span
from hub.ask import ask
from hub.commands.operate import data_option, print_line
from hub.commands.standing import between
from hub.figures import AlertFigures, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.commands.standing import AgentStanding, DeviceStanding, Standing, Took

LINES_OF_FRAME: Final = 10
"""Of a screen: the first two lines, two heads, rules."""
WIDE: Final = 100
"""Columns of a terminal that has room for all; one of 80 has none for when actions were chosen."""
ALERTS_MAX: Final = 5
"""Of them on a screen, the oldest."""
NONE: Final = "–"  # noqa: RUF001 - a dash for a number that is none


@click.command()
@data_option
@click.option("--once", is_flag=True, help="One look, of one interval, and end.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for each look, for programs.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks; rates and quantiles are of what came meanwhile.",
)
def top(data: Path, *, once: bool, as_json: bool, interval_s: float) -> None:
    """What a running hub does now: agents, devices, rates, latencies."""
    looks = _looks(data, interval_s)
    if as_json:
        for standing in looks:
            print_line(standing)
            if once:
                return
    console = Console()
    if once or not console.is_terminal:
        console.print(_screen(next(looks), console.width, len_max=None))
        return
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        for standing in looks:
            live.update(_screen(standing, console.width, len_max=console.height), refresh=True)


def _looks(data: Path, interval_s: float) -> Iterator[Standing]:
    before = _look(data)
    while True:
        time.sleep(interval_s)
        now = _look(data)
        yield between(before, now)
        before = now


def _look(data: Path) -> Watched:
    answer = ask(data, control.Watch()).answer
    return msgspec.convert(answer, Watched, strict=False)


def _screen(standing: Standing, width: int, *, len_max: int | None) -> Group:
    """All of it, or so many lines: agents first, then as many devices as fit."""
    left = sys.maxsize if len_max is None else max(0, len_max - LINES_OF_FRAME)
    alerts = standing.alerts[:ALERTS_MAX]
    agents = standing.agents[: max(0, left - len(alerts))]
    devices = standing.devices[: max(0, left - len(alerts) - len(agents))]
    return Group(
        _headline(standing),
        *_alerts(alerts, standing),
        Text(),
        _agents(agents, chosen=width >= WIDE),
        Text(),
        _devices(devices),
    )


def _headline(standing: Standing) -> Text:
    state = "ready" if standing.not_ready is None else standing.not_ready
    lines = (
        (
            f"sheepfold {standing.version}",
            state,
            f"event {standing.seq:,}",
            f"{standing.sockets:,} sockets",
            f"log {standing.fill:.0%} full",
        ),
        (
            f"{standing.steps_per_s:,.0f} steps/s",
            f"answered {_took(standing.answered)} ms",
            f"commit {_took(standing.commit)} ms",
            f"waiting {standing.waiting:,}",
        ),
    )
    text = "\n".join("  ".join(line) for line in lines)
    return Text(text, style="bold" if standing.not_ready is None else "bold red")


def _alerts(shown: list[AlertFigures], standing: Standing) -> Iterator[Text]:
    """A line each, as wide as the screen; the whole of it is in the console."""
    for alert in shown:
        said = f"{alert.rule} for {span(alert.open_s)}: {alert.says}"
        yield Text(said, style="red", no_wrap=True, overflow="ellipsis")
    more = len(standing.alerts) - len(shown)
    if more:
        yield Text(f"and {more} more alerts", style="red")


def _agents(agents: list[AgentStanding], *, chosen: bool) -> Table:
    """A line each; with or without when its actions were chosen."""
    table = _table("agent", "state", "sharing", narrow="agent")
    times = ("chosen\nms", "answered\nms") if chosen else ("answered\nms",)
    for name in ("devices", "steps\n/s", *times, "fall-\nback/s", "refused\n/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("policy", "to\nlearn"):
        table.add_column(name, justify="right", no_wrap=True)
    for agent in agents:
        state = agent.status if agent.status != "active" else "awake" if agent.awake else "asleep"
        table.add_row(
            agent.agent,
            state,
            agent.sharing,
            f"{agent.devices:,}",
            _number(agent.steps_per_s),
            *([_took(agent.chosen)] if chosen else []),
            _took(agent.answered),
            _number(agent.fallbacks_per_s),
            _number(agent.refused_per_s),
            NONE if agent.policy is None else str(agent.policy),
            NONE if agent.waiting is None else f"{agent.waiting:,}",
        )
    return table


def _devices(devices: list[DeviceStanding]) -> Table:
    table = _table("device", "agent", "MQTT", narrow="agent")
    for name in ("steps\n/s", "refused\n/s", "heard", "last\nreturn"):
        table.add_column(name, justify="right", no_wrap=True)
    for device in devices:
        table.add_row(
            device.device,
            device.agent,
            "online" if device.online else NONE,
            _number(device.steps_per_s),
            _number(device.refused_per_s),
            NONE if device.heard_s is None else f"{span(device.heard_s)} ago",
            NONE if device.last_return is None else _number(device.last_return),
        )
    return table


def _table(*words: str, narrow: str) -> Table:
    """With columns of words, of which one is cut where the screen is too narrow for all."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for name in words:
        table.add_column(name, no_wrap=name != narrow, overflow="ellipsis")
    return table


def _number(value: float) -> str:
    """No wider than 9; a tenth more or less tells nothing of a hundred."""
    if abs(value) < 100:
        return f"{value:,.1f}"
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2g}"


def _took(took: Took) -> str:
    """p50 and p99."""
    if took.p50_ms is None or took.p99_ms is None:
        return NONE
    return f"{_number(took.p50_ms)} / {_number(took.p99_ms)}"
