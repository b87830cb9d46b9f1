"""The DuckDB log against the list, whatever is done to them in whatever order.

A crash is what a killed process leaves: the files as they are at that moment, copied while the log
is open, and opened elsewhere. Nothing acknowledged may be missing there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hub.clock import SystemClock
from hub.log import columns, resume
from hub.log.memory import MemoryLog
from hub.log.rotate import Draft
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import Event, Kind, Source
from tests.log.events import floats
from tests.log.sealed import seal

finite = st.floats(allow_nan=False)
vectors = st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=5).map(
    lambda numbers: floats(*numbers)
)
names = st.sampled_from(["a", "b", "boiler-2"])
texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=8)
whole = st.integers(min_value=0, max_value=2**40)

events = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    ts=whole,
    agent=st.sampled_from(["", "walker", "heater"]),
    device=names,
    session=whole,
    boot=st.integers(min_value=0, max_value=2),
    step=st.none() | st.integers(min_value=0, max_value=9),
    obs=vectors,
    action=vectors,
    executed=vectors,
    reward=st.none() | st.integers(min_value=-9, max_value=9).map(float),
    terminated=st.none() | st.booleans(),
    truncated=st.none() | st.booleans(),
    first=st.none() | st.booleans(),
    policy=st.none() | whole,
    logprob=st.none() | finite,
    value=st.none() | finite,
    source=st.none() | st.sampled_from(Source),
    reason=texts,
    latency_us=st.none() | whole,
    device_ts=st.none() | whole,
    payload=texts,
    secret=st.none() | st.binary(max_size=4),
)
batches = st.lists(events, min_size=1, max_size=12)


class LogMachine(RuleBasedStateMachine):
    """Appends, reads, settles, checkpoints, seals, rotates, reopens, crashes and loses the file."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[Path] = []
        self.model = MemoryLog()

    @initialize()
    def make(self) -> None:
        self.log = self._open(self._folder())

    @rule(batch=batches)
    def append(self, batch: list[Event]) -> None:
        assert self.log.append(batch) == self.model.append(batch)

    @rule(after=st.integers(0, 40), limit=st.integers(0, 9), agent=st.none() | names)
    def read(self, after: int, limit: int, agent: str | None) -> None:
        expected = self.model.read(after, limit=limit, agent=agent)
        assert self.log.read(after, limit=limit, agent=agent) == expected

    @rule(first=st.integers(1, 40), rows=st.integers(1, 20), kind=st.sampled_from(Kind))
    def rows(self, first: int, rows: int, kind: Kind) -> None:
        expected = [e for e in self.model.read(first - 1, limit=rows) if e.kind is kind]
        found = self.log.rows(first, first + rows - 1, None, [kind])
        assert columns.to_events(found) == expected

    @rule(share=st.floats(0, 1))
    def seal(self, share: float) -> None:
        seal(self.log, int(share * self.log.last_seq))

    @rule(share=st.floats(0, 1))
    def rotate(self, share: float) -> None:
        sealed = self.log.history.seq_last
        upto = self.log.begins + int(share * (sealed - self.log.begins))
        if upto > self.log.begins:
            Draft.begin(self.log, upto, LogSettings()).finish(self.log)

    @rule()
    def lose_the_file(self) -> None:
        """What is sealed stands in segments; only a log that is sealed wholly loses nothing."""
        if self.log.history.seq_last == self.log.last_seq > 0:
            self.log.close()
            for path in self.folders[-1].glob("log*.duckdb*"):
                path.unlink()
            self.log = self._open(self.folders[-1])

    @rule()
    def settle(self) -> None:
        self.log.settle()

    @rule()
    def checkpoint(self) -> None:
        self.log.checkpoint()

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = self._open(self.folders[-1])

    @rule()
    def crash(self) -> None:
        left, found = self.folders[-1], self._folder()
        shutil.copytree(left, found, dirs_exist_ok=True)
        self.log.close()
        self.log = self._open(found)

    @rule()
    def recover(self) -> None:
        assert resume.recover(self.log) == self.model.recover()

    @invariant()
    def ends_alike(self) -> None:
        assert self.log.last_seq == self.model.last_seq
        damage = self.log.state.damage
        assert damage is None or damage.endswith("were taken from the segments")

    def teardown(self) -> None:
        self.log.close()
        for folder in self.folders:
            shutil.rmtree(folder)

    def _folder(self) -> Path:
        self.folders.append(Path(tempfile.mkdtemp()))
        return self.folders[-1]

    def _open(self, folder: Path) -> DuckLog:
        return DuckLog.open(folder, LogSettings(), clock=SystemClock(), new_hub=lambda: "h")


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
