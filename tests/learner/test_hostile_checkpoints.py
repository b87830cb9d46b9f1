"""No checkpoint runs code, writes a file or takes the memory: 200 hostile ones, by seed.

Each is refused in a sentence. What `pickle` or `os` would do for it is watched by an audit hook.
"""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest

from hub.errors import OperatorFault
from hub.learner.exchange.checkpoint import read_checkpoint
from hub.learner.exchange.exporting import export_policy
from hub.learner.exchange.importing import Job, import_policy, make_version
from tests.learner.hostile import KINDS, Source, packed, unpacked
from tests.learner.test_importing import AGENTS, version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEEDS: Final = 200
BYTES_MAX: Final = 4 << 20
MEMORY_BYTES_MAX: Final = 16 * BYTES_MAX
RUNS: Final = ("pickle.find_class", "exec", "os.system", "subprocess.Popen", "os.rename", "compile")
AGENT: Final = AGENTS[0]


class Watch:
    """What ran while it was looked at; an audit hook can't be taken away, so there is one."""

    def __init__(self) -> None:
        self.looking = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.looking:
            return
        written = event == "open" and isinstance(arguments[1], str) and arguments[1] not in "rb"
        if event in RUNS or written:
            self.seen.append(f"{event} {arguments!r}")


@pytest.fixture(scope="module")
def watch(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """Begins when honest files were read: what they had imported runs code too."""
    check_honest(source, tmp_path_factory.mktemp("watched"))
    return Watch()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("honest")
    path = version(AGENT, folder)
    export_policy(path, AGENT, folder / "policy.zip")
    return Source((folder / "policy.zip").read_bytes(), path.read_bytes(), folder / "canary")


@pytest.fixture
def file(tmp_path: Path, source: Source) -> Iterator[Path]:
    """Where a checkpoint is put; nothing else is there afterwards."""
    canary = tmp_path / "canary"
    source.canary = str(canary)
    yield tmp_path / "hostile"
    assert [path.name for path in tmp_path.iterdir()] == ["hostile"]


def test_the_honest_files_are_taken(tmp_path: Path, source: Source) -> None:
    check_honest(source, tmp_path)


def check_honest(source: Source, folder: Path) -> None:
    again = packed(unpacked(source.sb3), 8)
    for data, tensors in ((source.sb3, 12), (source.own, 13), (again, 12)):
        path = folder / "honest"
        path.write_bytes(data)
        assert len(read_checkpoint(path, bytes_max=BYTES_MAX).weights) == tensors


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_checkpoint_is_refused(
    file: Path, source: Source, watch: Watch, seed: int
) -> None:
    make = KINDS[seed % len(KINDS)]
    data = make(source, np.random.default_rng(seed))
    file.write_bytes(data)
    tracemalloc.start()
    watch.looking = True
    try:
        with pytest.raises(OperatorFault) as refused:
            read_checkpoint(file, bytes_max=BYTES_MAX)
    finally:
        watch.looking = False
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    said = str(refused.value)
    assert watch.seen == []
    assert "\n" not in said
    assert 20 < len(said) < 500, said
    assert peak < MEMORY_BYTES_MAX, f"{make.__name__}: {peak >> 20} MB"


class Opens:
    """Pickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._path, "w")


def test_code_beside_the_weights_is_not_even_looked_at(
    tmp_path: Path, source: Source, watch: Watch
) -> None:
    import base64

    canary = tmp_path / "canary"
    text = msgspec.json.decode(source.members["data"])
    code = base64.b64encode(pickle.dumps(Opens(str(canary)))).decode()
    for name, value in text.items():
        if isinstance(value, dict) and ":serialized:" in value:
            text[name] = {**value, ":serialized:": code}
    optimizer = pickle.dumps(Opens(str(canary)))
    members = source.members | {"data": msgspec.json.encode(text)}
    data = packed(members | {"policy.optimizer.pth": optimizer})
    (tmp_path / "file").write_bytes(data)
    watch.looking = True
    read_checkpoint(tmp_path / "file", bytes_max=BYTES_MAX)
    watch.looking = False
    make_version(Job(AGENT, str(tmp_path / "file"), str(tmp_path), BYTES_MAX))
    assert watch.seen == []
    assert not canary.exists()


def test_a_flipped_bit_is_refused_or_does_not_matter(file: Path, source: Source) -> None:
    chance = np.random.default_rng(1)
    file.write_bytes(source.sb3)
    honest = read_checkpoint(file, bytes_max=BYTES_MAX).weights
    taken = 0
    for _ in range(300):
        data = bytearray(source.sb3)
        data[chance.integers(len(data))] ^= 1 << chance.integers(8)
        file.write_bytes(data)
        try:
            weights = read_checkpoint(file, bytes_max=BYTES_MAX).weights
        except OperatorFault:
            continue
        taken += 1
        assert all(np.array_equal(weights[name], honest[name]) for name in honest)
    assert taken < 100


@pytest.mark.parametrize("kind", [0, 4, 7])
def test_the_process_that_imports_refuses_and_leaves_nothing(
    file: Path, source: Source, kind: int
) -> None:
    file.write_bytes(KINDS[kind](source, np.random.default_rng(3)))
    with pytest.raises(OperatorFault) as refused:
        import_policy(Job(AGENT, str(file), str(file.parent), BYTES_MAX))
    assert "reader ended" not in str(refused.value)
