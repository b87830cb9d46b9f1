"""What a process of ours takes, as Linux counts it under /proc; None where that can't be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
USER_TICKS: Final = 11
SYSTEM_TICKS: Final = 12
"""Of /proc/PID/stat (proc(5)), counted after the name in brackets, which may hold blanks."""
PRIVATE: Final = ("Private_Clean:", "Private_Dirty:")
KB_PER_MB: Final = 1024


def cpu_s(pid: int) -> float | None:
    """User and system time of all its threads so far; in steps of 10 ms."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])) / TICKS_PER_S


def private_mb(pid: int) -> float | None:
    """Memory that would be free if it ended, in MiB: what it shares with others does not count.

    So a limit means the same however many agents are awake. The proportional set size would fall by
    itself when others start, and the resident one has 200 MB of torch that is there anyway.
    """
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith(PRIVATE)) / KB_PER_MB
