"""What goes into Arrow comes out of it: every value of every column, however pages are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log import columns, messages
from hub.words import FLOAT_BYTES, Event, Floats, Kind, Source
from tests.log.events import action, episode, floats, observation, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
VECTORS = st.lists(st.binary(min_size=FLOAT_BYTES, max_size=FLOAT_BYTES), max_size=5).map(
    lambda numbers: Floats(b"".join(numbers))
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(Kind),
    "ts": INT64,
    "agent": TEXTS,
    "device": TEXTS,
    "session": INT64,
    "boot": INT64,
    "version": st.integers(0, 255),
    **dict.fromkeys(("step", "policy", "latency_us", "device_ts"), st.none() | INT64),
    **dict.fromkeys(("obs", "action", "executed"), st.none() | VECTORS),
    **dict.fromkeys(("reward", "logprob", "value"), st.none() | st.floats()),
    **dict.fromkeys(("terminated", "truncated", "first"), st.none() | st.booleans()),
    **dict.fromkeys(("reason", "payload"), st.none() | TEXTS),
    "source": st.none() | st.sampled_from(Source),
    "secret": st.none() | st.binary(max_size=40),
}
EVENTS = st.lists(st.builds(Event, **COLUMNS), max_size=12)


def numbered(events: Sequence[Event], first: int) -> list[Event]:
    """The events as the log gives them back."""
    return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events, first)]


def rows(*batches: pa.RecordBatch) -> pa.Table:
    """As pages are sent: a chunk a batch."""
    return pa.Table.from_batches(batches, columns.SCHEMA)


def assert_same(found: list[Event], events: list[Event]) -> None:
    """To the bit: NaN is NaN here, and -0.0 is not 0.0."""
    assert messages.encode_events(found) == messages.encode_events(events)
    assert [(type(event.kind), type(event.source)) for event in found] == [
        (type(event.kind), type(event.source)) for event in events
    ]


@given(events=EVENTS, first=st.integers(1, 2**62))
def test_events_come_back_as_they_were_and_numbered(events: list[Event], first: int) -> None:
    batch = columns.to_batch(events, first)
    batch.validate(full=True)
    assert batch.schema == columns.SCHEMA
    assert_same(columns.to_events(rows(batch)), numbered(events, first))


@given(parts=st.lists(EVENTS, max_size=3), skip=st.integers(0, 20), take=st.integers(0, 20))
def test_a_slice_of_several_batches_is_the_slice_of_their_events(
    parts: list[list[Event]], skip: int, take: int
) -> None:
    batches: list[pa.RecordBatch] = []
    events: list[Event] = []
    for part in parts:
        batches.append(columns.to_batch(part, len(events) + 1))
        events += numbered(part, len(events) + 1)
    table = rows(*batches).slice(skip, take)
    assert_same(columns.to_events(table), events[skip : skip + take])


@pytest.mark.parametrize(
    "events",
    [[*steps(1, 40), episode(40)], [observation(1, obs=floats())], [action(1, action=None)], []],
    ids=["many", "empty vector", "no vector", "none"],
)
def test_a_page_may_come_over_a_socket(events: list[Event]) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, columns.SCHEMA) as stream:
        for at in range(0, len(events), 7):
            stream.write_batch(columns.to_batch(events[at : at + 7], at + 1))
    table = pa.ipc.open_stream(sink.getvalue()).read_all()
    assert_same(columns.to_events(table), numbered(events, 1))


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_of_few_or_no_events_has_all_columns(count: int) -> None:
    batch = columns.to_batch([observation(1), action(1)][:count], 9)
    assert batch.schema == columns.SCHEMA
    assert batch.column("seq").to_pylist() == [9][:count]


def test_a_column_whose_first_value_alone_is_there_keeps_the_others_absent() -> None:
    events = [observation(1), action(1), action(2, action=None, policy=None), observation(3)]
    table = rows(columns.to_batch(events, 1))
    assert table.column("reward").to_pylist() == [1.0, None, None, 3.0]
    assert table.column("policy").to_pylist() == [None, 3, None, None]
    assert table.column("obs").to_pylist() == [[1.0, -1.0], None, None, [3.0, -3.0]]


def test_an_empty_vector_is_not_an_absent_one() -> None:
    events = [observation(1, obs=floats()), observation(2, obs=None)]
    assert [event.obs for event in columns.to_events(rows(columns.to_batch(events, 1)))] == [
        b"",
        None,
    ]


@given(st.lists(st.integers(1, 9), unique=True))
def test_rows_that_were_not_read_by_seq_are_put_so(seqs: list[int]) -> None:
    pages = [columns.to_batch([observation(seq)], seq) for seq in seqs]
    rows = columns.by_seq(pa.Table.from_batches(pages, columns.SCHEMA))
    assert [(event.seq, event.step) for event in columns.to_events(rows)] == sorted(
        (seq, seq) for seq in seqs
    )


def test_a_number_that_no_column_can_hold_is_refused() -> None:
    with pytest.raises((pa.ArrowException, OverflowError)):
        columns.to_batch([observation(1, session=2**63)], 1)
