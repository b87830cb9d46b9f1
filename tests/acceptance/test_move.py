"""Backups under load, and a hub that goes from machine to machine while its devices go on.

The large form is `pytest tests/acceptance/test_move.py --moves 20` (`make soak-move`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest

from hub.clock import SystemClock
from hub.log import columns
from hub.log.messages import socket_path
from hub.log.read import Fetcher
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.acceptance.devices import walkers
from tests.acceptance.real_hub import sheepfold
from tests.acceptance.test_kill import assert_nothing_lost, await_learning, await_steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.acceptance.devices import Walker
    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


def test_move_under_load_loses_nothing_and_its_backups_are_equal(
    new_hub: Callable[[str], RealHub], tmp_path: Path, moves: int
) -> None:
    """Goal: an operator can copy a hub while it works, and take it elsewhere.

    Method: three devices never stop. Again and again the hub is backed up twice under their load,
    what is restored from it is compared with the hub's own rows, the hub is stopped and moved, and
    started where it was restored, at the same address. At the end the log is compared with what the
    devices were told.
    """
    hub = new_hub("")
    hub.start()
    devices = walkers(hub, hub.make_agent("cart"))
    for device in devices:
        device.start()
    await_learning(hub)
    told, served_s, away_s = steps_of(devices), 0.0, 0.0
    for number in range(moves):
        began = time.perf_counter()
        carried = tmp_path / f"carried-{number}"
        back_up_and_compare(hub, devices, carried, tmp_path / f"compared-{number}")
        stopped = time.perf_counter()
        hub = moved(hub, new_hub(""), carried)
        started = time.perf_counter()
        await_steps(devices)
        served_s += stopped - began + time.perf_counter() - started
        away_s += started - stopped
    steps = steps_of(devices) - told
    print(  # noqa: T201
        f"{moves} moves, {steps} steps, {steps / served_s:.0f}/s while a hub served; "
        f"each move took {away_s / moves:.1f} s"
    )
    await_learning(hub)
    for device in devices:
        device.stop()
    assert_nothing_lost(hub, devices)


def back_up_and_compare(hub: RealHub, devices: list[Walker], copy: Path, restored: Path) -> None:
    """Back up twice into one folder; what is restored is what the hub has, up to there."""
    first = printed(hub, "backup", str(copy))
    await_steps(devices)
    acknowledged = [len(device.steps) for device in devices]
    second = printed(hub, "backup", str(copy))
    assert second["seq_last"] > first["seq_last"]
    assert 0 < second["copied"] < second["segments"] + second["policies"], "only what is new"
    done = sheepfold("restore", str(copy), data=restored)
    assert done.returncode == 0, done.stderr
    log = DuckLog.open(restored, LogSettings(), clock=SystemClock())
    assert log.last_seq == second["seq_last"]
    found = log.rows(1, log.last_seq, None, None, reveal=False)
    log.close()
    with Fetcher(socket_path(hub.data)) as live:
        pages = [page.table for page in live.pages(0, upto=second["seq_last"])]
    expected = pa.concat_tables(pages).select(columns.FIELDS).cast(columns.SCHEMA)
    assert found.equals(expected.slice(0, found.num_rows))
    assert found.column("seq").to_pylist() == list(range(1, second["seq_last"] + 1))
    for device, steps in zip(devices[:2], acknowledged[:2], strict=True):  # they number theirs
        assert found.column("device").to_pylist().count(device.device) >= steps


def moved(old: RealHub, new: RealHub, carried: Path) -> RealHub:
    """The hub in another folder, where the devices find it again."""
    assert old.stop() == 0
    printed(old, "move", str(carried))
    done = sheepfold("restore", str(carried), data=new.data)
    assert done.returncode == 0, done.stderr
    new.ready = old.ready  # the same ports, as a name or address that goes along
    new.start()
    refused = sheepfold("serve", data=old.data)
    assert (refused.returncode, "was moved to" in refused.stderr) == (1, True)
    return new


def printed(hub: RealHub, *arguments: str) -> dict[str, Any]:
    """The line of a command that did it."""
    done = hub.command(*arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def steps_of(devices: list[Walker]) -> int:
    """Acknowledged so far."""
    return sum(len(device.steps) for device in devices)
