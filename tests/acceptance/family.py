"""A process and what it started, as Linux shows them under /proc.

members = family(hub_pid)
os.kill(hub_pid, SIGKILL)
[member for member in members if lives(member)]       # those that outlived it
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
ENDED: Final = ("Z", "X")
"""States of a process that only waits for its parent to look at its exit code."""


class Member(NamedTuple):
    """A process; a pid alone may be another's by now."""

    pid: int
    started: int
    """Clock ticks since boot."""


def family(pid: int) -> list[Member]:
    """The process, and all that it and they have started."""
    parents: dict[int, int] = {}
    members: dict[int, Member] = {}
    for folder in PROC.glob("[0-9]*"):
        if (stat := _stat(int(folder.name))) is not None:
            _, parent, member = stat
            parents[member.pid] = parent
            members[member.pid] = member
    return [member for child, member in members.items() if _descends(child, pid, parents)]


def lives(member: Member) -> bool:
    """Whether it still runs."""
    stat = _stat(member.pid)
    return stat is not None and stat[2] == member and stat[0] not in ENDED


def _descends(child: int, ancestor: int, parents: dict[int, int]) -> bool:
    while child != ancestor and child in parents:
        child = parents[child]
    return child == ancestor


def _stat(pid: int) -> tuple[str, int, Member] | None:
    """State, parent and the process itself (proc_pid_stat(5)); None when there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # a name may hold spaces and brackets
    return fields[0], int(fields[1]), Member(pid, int(fields[19]))
