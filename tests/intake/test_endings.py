"""What is remembered of a device's last episodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.intake.endings import KEPT, Ended, Endings
from hub.words import EndedBy

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
ENDED = st.builds(Ended, INT64, st.floats(allow_nan=False), INT64, INT64, st.sampled_from(EndedBy))


@given(st.lists(ENDED, min_size=1, max_size=2 * KEPT))
def test_the_last_episodes_come_back_as_they_were_oldest_first(ended: list[Ended]) -> None:
    first, *others = ended
    endings = Endings(first)
    for one in others:
        endings.add(one)
    assert list(endings) == ended[-KEPT:]
    assert endings.last == ended[-1]
