"""What other people are given has no secrets, and payloads in clear only when that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from hub.clock import SystemClock
from hub.errors import HubFault, OperatorFault
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.payload_keys import PREFIX, PayloadKeys
from hub.log.segments.export import export
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind
from tests.log import sealed
from tests.log.events import NOW_US, agent_made, observation
from tests.log.segments.made import flip_a_bit

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"s" * 32


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    log = DuckLog.open(folder, LogSettings(), clock=SystemClock())
    log.append(
        [
            observation(1, "a", payload='{"room":"7"}'),
            observation(1, "b", payload='{"room":"8"}'),
            observation(2, "b"),
            agent_made(),
            Event(Kind.HELLO, NOW_US, "walker", "a", secret=SECRET),
            Event(Kind.ADMIN, NOW_US, payload='{"type":"x"}'),
        ]
    )
    sealed.seal(log)
    log.close()
    return folder


def walker(target: Path) -> list[dict[str, Any]]:
    """Rows of the agent's file."""
    (path,) = target.rglob("agent=walker/*/*.parquet")
    return list(pq.ParquetFile(path).read().to_pylist())


def test_payloads_stay_sealed_where_no_keys_are_given(data: Path, tmp_path: Path) -> None:
    done = export(data, tmp_path / "out", None)
    assert (done.seq_last, done.files, done.rows) == (6, 2, 6)
    there = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert done.bytes == sum(path.stat().st_size for path in there)
    assert {path.suffix for path in there} == {".parquet"}
    assert not any(SECRET in path.read_bytes() for path in there)
    assert all(row["payload"].startswith(PREFIX) for row in walker(tmp_path / "out")[:2])


def test_payloads_are_revealed_but_for_forgotten_devices(data: Path, tmp_path: Path) -> None:
    keys = PayloadKeys(data / KEYS)
    keys.destroy("b")
    done = export(data, tmp_path / "out", keys)
    assert (done.files, done.rows) == (2, 6)
    rows = walker(tmp_path / "out")
    assert [row["payload"] for row in rows[:3]] == ['{"room":"7"}', None, None]
    assert rows[3]["payload"].startswith('{"type":"agent_made"')
    export(data, tmp_path / "plain", None)
    for row, plain in zip(rows, walker(tmp_path / "plain"), strict=True):
        assert {**row, "payload": None} == {**plain, "payload": None}


def test_a_folder_that_is_not_empty_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(data, tmp_path / "out", None)
    with pytest.raises(OperatorFault, match="is not an empty folder"):
        export(data, tmp_path / "out", None)


def test_nothing_sealed_is_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="nothing is sealed"):
        export(tmp_path, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_gone_is_named(data: Path, tmp_path: Path) -> None:
    next(data.rglob("agent=walker/*/*.parquet")).unlink()
    with pytest.raises(HubFault, match=r"agent=walker.*events 1 to 5. is not there"):
        export(data, tmp_path / "out", None)


@pytest.mark.parametrize("reveal", [False, True])
def test_a_file_with_a_flipped_bit_is_not_given_away(
    data: Path, tmp_path: Path, *, reveal: bool
) -> None:
    flip_a_bit(next(data.rglob("agent=walker/*/*.parquet")))
    keys = PayloadKeys(data / KEYS) if reveal else None
    with pytest.raises(HubFault, match=r"agent=walker.*events 1 to 5. was changed"):
        export(data, tmp_path / "out", keys)
