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
"""Of a screen: the first line, two heads, rules."""
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
        console.print(_screen(next(looks), len_max=None))
        return
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        for standing in looks:
            live.update(_screen(standing, len_max=console.height), refresh=True)


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


def _screen(standing: Standing, *, len_max: int | None) -> Group:
    """All of it, or so many lines: agents first, then as many devices as fit."""
    left = sys.maxsize if len_max is None else max(0, len_max - LINES_OF_FRAME)
    alerts = standing.alerts[:ALERTS_MAX]
    agents = standing.agents[: max(0, left - len(alerts))]
    devices = standing.devices[: max(0, left - len(alerts) - len(agents))]
    return Group(
        _headline(standing), *_alerts(alerts, standing), _agents(agents), _devices(devices)
    )


def _headline(standing: Standing) -> Text:
    state = "ready" if standing.not_ready is None else standing.not_ready
    parts = [
        f"sheepfold {standing.version}  {state}",
        f"{standing.steps_per_s:,.0f} steps/s",
        f"answered {_took(standing.answered)} ms",
        f"commit {_took(standing.commit)} ms",
        f"waiting {standing.waiting}",
        f"log {standing.fill:.0%} full",
        f"event {standing.seq:,}",
        f"{standing.sockets} sockets",
    ]
    return Text("  ".join(parts), style="bold" if standing.not_ready is None else "bold red")


def _alerts(shown: list[AlertFigures], standing: Standing) -> Iterator[Text]:
    """A line each, as wide as the screen; the whole of it is in the console."""
    for alert in shown:
        said = f"{alert.rule} for {span(alert.open_s)}: {alert.says}"
        yield Text(said, style="red", no_wrap=True, overflow="ellipsis")
    more = len(standing.alerts) - len(shown)
    if more:
        yield Text(f"and {more} more alerts", style="red")


def _agents(agents: list[AgentStanding]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("agent", "state"):
        table.add_column(name, no_wrap=True)
    numbers = ("devices", "steps\n/s", "chosen\nms", "answered\nms", "fallback\n/s", "refused\n/s")
    for name in (*numbers, "policy", "to\nlearn"):
        table.add_column(name, justify="right")
    for agent in agents:
        state = agent.status if agent.status != "active" else "awake" if agent.awake else "asleep"
        table.add_row(
            agent.agent,
            state,
            f"{agent.devices:,}",
            f"{agent.steps_per_s:,.1f}",
            _took(agent.chosen),
            _took(agent.answered),
            f"{agent.fallbacks_per_s:,.1f}",
            f"{agent.refused_per_s:,.1f}",
            NONE if agent.policy is None else str(agent.policy),
            NONE if agent.waiting is None else f"{agent.waiting:,}",
        )
    return table


def _devices(devices: list[DeviceStanding]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("device", "agent", "MQTT"):
        table.add_column(name, no_wrap=True)
    for name in ("steps/s", "refused/s", "heard", "last return"):
        table.add_column(name, justify="right")
    for device in devices:
        table.add_row(
            device.device,
            device.agent,
            "online" if device.online else NONE,
            f"{device.steps_per_s:,.1f}",
            f"{device.refused_per_s:,.1f}",
            NONE if device.heard_s is None else f"{device.heard_s:,.0f} s ago",
            NONE if device.last_return is None else f"{device.last_return:,.1f}",
        )
    return table


def _took(took: Took) -> str:
    """p50 and p99."""
    if took.p50_ms is None or took.p99_ms is None:
        return NONE
    return f"{took.p50_ms:.1f} / {took.p99_ms:.1f}"
