"""What a person sees of a hub in a terminal of 80 columns, and in a wide one."""

from __future__ import annotations

import io
from typing import Final

import pytest
from msgspec import structs
from rich.console import Console

from hub.commands.standing import between
from hub.commands.top import _screen
from tests.commands.test_standing import AGENT, DEVICE, EARLY, later, took

HEADS: Final = ("state", "sharing", "devices", "answered", "back/s", "refused", "policy", "learn")
FULL: Final = structs.replace(
    AGENT,
    name="a" * 40,
    sharing="advice",
    devices=10_000,
    sent={"policy": 30_000, "fallback": 9_000},
    chosen_us=took(1, 150_000, 900_000),
    answered_us=took(4, 150_000, 900_000),
    policy=12_345,
    waiting=1_000,
)


def shown(width: int) -> list[str]:
    now = later(2.0, FULL, taken=30, seq=60)
    device = structs.replace(DEVICE, id="d" * 23, agent="a" * 40, heard_s=9.0, last_return=1e30)
    page = Console(width=width, file=io.StringIO())
    standing = between(EARLY, structs.replace(now, devices=[device]))
    page.print(_screen(standing, width, len_max=None))
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 160])
def test_heads_and_numbers_are_whole_and_only_the_agents_name_is_cut(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert all(head in "\n".join(lines) for head in HEADS)
    (agent,) = (line for line in lines if line.startswith("aaa"))
    assert agent.split()[1:4] == ["awake", "advice", "10,000"]
    assert agent.split()[-2:] == ["12345", "1,000"]
    assert agent.split()[0].endswith("…") == (width == 80)
    (device,) = (line for line in lines if line.startswith("d" * 23 + " "))
    assert device.split()[-4:] == ["9", "s", "ago", "1e+30"]


def test_when_actions_were_chosen_is_shown_where_there_is_room() -> None:
    assert "chosen" not in "\n".join(shown(80))
    assert "chosen" in "\n".join(shown(160))
