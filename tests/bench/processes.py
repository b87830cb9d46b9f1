"""What each process of a hub costs, read from /proc: no help from inside."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
ROLES: Final = ("hub", "log", "analyst", "actor", "trainer", "other")
SPIN: Final = """
import os
os.nice(19)
if hasattr(os, "SCHED_IDLE"):
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000): pass
"""


def roles(processes: Mapping[str, int]) -> dict[str, list[int]]:
    """Pids by role, from what `sheepfold status` says; `other` is what else the hub started."""
    found: dict[str, list[int]] = {role: [] for role in ROLES}
    for name, pid in processes.items():
        found[name.partition("-")[0]].append(pid)  # `trainer-bench`: of the agent `bench`
    found["other"] = sorted(set(_descendants(processes["hub"])) - set(processes.values()))
    return found


def cpu_s(pids: list[int]) -> float:
    """User and system time so far."""
    return sum(int(f[13]) + int(f[14]) for f in map(_stat, pids)) / TICKS_PER_S


def pss_mib(pids: list[int]) -> float:
    """Proportional set size: shared pages count by their share."""
    kib = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


class Spinner:
    """A busy loop at the lowest priority, so that the machine does not fall asleep between steps.

    A sleeping core takes long to wake, on virtual machines most of all: without it a hub with one
    device looks slower than with eight. One is enough, and with Linux's idle policy it gives way at
    once: one per core at nice 19 took a third of what the hub does with 32 devices.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", SPIN])

    def __exit__(self, *_: object) -> None:
        assert self._process is not None, "entered"
        self._process.kill()
        self._process.wait()


def _descendants(pid: int) -> Iterator[int]:
    """Those that live; one may end while we look."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from _descendants(child)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat, counted from 0; the name in brackets may hold blanks."""
    head, _, rest = (PROC / str(pid) / "stat").read_text().rpartition(")")
    return [head.split()[0], head, *rest.split()]
