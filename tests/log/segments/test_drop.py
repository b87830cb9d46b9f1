"""What is too old goes for good, whatever happens meanwhile, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import HubFault
from hub.log.segments.drop import drop
from hub.log.segments.manifest import FILE_NAME, FOLDER, Dropped, Manifest
from hub.log.segments.verify import verify
from tests.log.events import NOW_US, agent_made, observation, steps
from tests.log.segments.made import flip_a_bit, sealed

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.segments.manifest import Segment

EVENTS = [
    agent_made(),
    *steps(1, 10),
    *(observation(step, "b", agent="heater") for step in range(20)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sealed(tmp_path, EVENTS)
    return tmp_path / FOLDER


def of(folder: Path, agent: str) -> list[Segment]:
    return [segment for segment in Manifest.read(folder).retained if segment.agent == agent]


def test_what_is_kept_of_a_damaged_file_is_not_believed(folder: Path) -> None:
    """Its row that declares the agent would stand in the kept file, with a hash that is right."""
    flip_a_bit(next(folder.rglob("agent=walker/*/*.parquet")))
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(HubFault, match=r"agent=walker.*events 1 to 21. was changed"):
        drop(folder, of(folder, "walker"), NOW_US)
    assert (folder / FILE_NAME).read_bytes() == before


def test_what_is_said_to_be_gone_goes_the_next_time_anybody_drops(folder: Path) -> None:
    """Killed after its line: an idle hub never seals again, which would remove the file too."""
    (path,) = folder.rglob("agent=walker/*/*.parquet")
    walker = path.read_bytes()
    drop(folder, of(folder, "walker"), NOW_US)
    assert not path.exists()
    path.write_bytes(walker)
    drop(folder, [], NOW_US)
    assert not path.exists()
    assert (verify(folder.parent).problems, verify(folder.parent).strays) == ([], [])
    assert len(Manifest.read(folder).entries) == 2


def test_a_line_that_names_a_file_elsewhere_removes_nothing(folder: Path) -> None:
    away = folder.parent / "log.acknowledged"
    away.touch()
    manifest = Manifest.read(folder)
    paths = ["../log.acknowledged", str(away)]
    manifest.add(Dropped(paths=paths, seq_last=1, made=NOW_US, previous=manifest.previous))
    drop(folder, [], NOW_US)
    assert away.exists()
