"""A policy that remembers, on a running hub: the log says how much, and when it was lost."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from tests.acceptance.devices import Http
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

QUICK: Final = {"n_steps": "16", "batch_size": "16", "n_epochs": "1", "lstm_hidden_size": "8"}


def memories(hub: RealHub) -> list[tuple[int, int]]:
    """Step and memory of each action of the policy, in order."""
    rows = hub.sql(
        "SELECT step, payload FROM events WHERE kind = 'action' AND source = 'policy' ORDER BY seq"
    )
    return [(row["step"], msgspec.json.decode(row["payload"])["memory"]) for row in rows]


def test_an_actor_that_was_killed_says_that_it_remembers_nothing(hub: RealHub) -> None:
    key = hub.make_agent("minded", algorithm="RecurrentPPO", parameters=QUICK)
    with Http(hub.ready.http) as http:
        step = 0

        def version() -> int:
            """That answered one more step; -1 when none did."""
            nonlocal step
            observation = [0.1, step / 100, 0.0, 1.0]
            document = {"device": "rover", "s": step, "o": observation, "r": 1.0}
            status, answer = http.step(key, document)
            assert status == 200, answer
            step += 1
            return int(answer.get("pv", -1))

        until(lambda: version() >= 2, "it acts by what it learnt", timeout_s=60.0)
        before = memories(hub)
        for (earlier, seen), (later, next_seen) in itertools.pairwise(before):
            assert next_seen == (seen + 1 if later == earlier + 1 else 0)
        assert before[-1][1] > 20, "over versions, too"
        os.kill(hub.processes["actor-minded"], signal.SIGKILL)
        killed_at = step

        def begun_anew() -> bool:
            version()
            return any(at >= killed_at and seen == 0 for at, seen in memories(hub))

        until(begun_anew, "an action of the new actor", timeout_s=60.0)
        newest = version()
        until(lambda: version() > newest + 1, "it goes on learning", timeout_s=60.0)
