"""The log as analysts see it (docs/analyst.md), of a hub that has just worked."""

from __future__ import annotations

from typing import Final

import pytest

from hub.errors import OperatorFault
from tests.acceptance.devices import walkers
from tests.acceptance.real_hub import RealHub, until

pytestmark = pytest.mark.acceptance

COLUMNS: Final = {
    "events": "hub, seq, ts, device_ts, kind, version, agent, device, session, boot, step, obs, "
    "action, executed, reward, terminated, truncated, policy, logprob, value, source, reason, "
    "latency_us, payload",
    "transitions": "agent, device, session, boot, step, obs, action, reward, next_obs, "
    "terminated, truncated, policy, logprob, source, seq",
    "episodes": "agent, device, session, episode, started, ended, steps, return, ended_by",
}
"""Exactly these."""
FIRST_COLUMNS: Final = {
    "policies": ["agent", "version", "seq", "created", "sha256", "parent"],
    "agents": ["agent"],
    "devices": ["device", "agent"],
}
KINDS: Final = {"hello", "observation", "action", "refused", "episode", "reward"} | {
    *("advice", "update", "policy", "snapshot", "admin"),
}
SOURCES: Final = {"policy", "advice", "fallback", "clamp", "override"}


@pytest.fixture(scope="module")
def worked(hub: RealHub) -> RealHub:
    """A hub on which three devices have stepped and a policy has been learnt."""
    key = hub.make_agent("cart")
    devices = walkers(hub, key)
    for device in devices:
        device.start()
    until(lambda: hub.value("SELECT count(*) FROM policies WHERE version >= 2"), "learning")
    for device in devices:
        device.stop()
    return hub


@pytest.mark.parametrize("view", COLUMNS)
def test_view_has_exactly_the_contracts_columns(worked: RealHub, view: str) -> None:
    assert header(worked, view) == COLUMNS[view].split(", ")


@pytest.mark.parametrize("view", FIRST_COLUMNS)
def test_view_begins_with_the_contracts_columns(worked: RealHub, view: str) -> None:
    assert header(worked, view)[: len(FIRST_COLUMNS[view])] == FIRST_COLUMNS[view]


def header(hub: RealHub, view: str) -> list[str]:
    """The names of a view's columns."""
    return hub.asked(f"SELECT * FROM {view} LIMIT 1", "csv").decode().splitlines()[0].split(",")


def test_seq_is_gapless_from_1(worked: RealHub) -> None:
    query = "SELECT min(seq) AS a, max(seq) AS b, count(DISTINCT seq) AS n FROM events"
    (found,) = worked.sql(query)
    assert found["a"] == 1
    assert found["b"] == found["n"]


def test_kinds_and_sources_are_the_contracts_words(worked: RealHub) -> None:
    kinds = {row["kind"] for row in worked.sql("SELECT DISTINCT kind FROM events")}
    assert {"hello", "observation", "action", "episode", "update", "policy", "admin"} <= kinds
    assert kinds <= KINDS
    sources = worked.sql("SELECT DISTINCT source FROM events WHERE kind = 'action'")
    assert {row["source"] for row in sources} <= SOURCES


def test_every_observation_in_mid_episode_has_one_action_after_it(worked: RealHub) -> None:
    unanswered = worked.value(
        "SELECT count(*) FROM events AS o WHERE kind = 'observation' AND NOT terminated "
        "AND (SELECT count(*) FROM events AS a WHERE a.kind = 'action' AND a.seq > o.seq"
        " AND (a.device, a.boot, a.step) = (o.device, o.boot, o.step)) <> 1"
    )
    assert unanswered == 0


def test_policy_actions_carry_version_and_probability(worked: RealHub) -> None:
    query = "SELECT count(*) FROM events WHERE source = 'policy' AND "
    assert worked.value(query + "policy >= 1") > 0
    assert worked.value(query + "(policy IS NULL OR logprob IS NULL OR action IS NULL)") == 0


def test_transitions_join_what_followed_and_end_with_their_episode(worked: RealHub) -> None:
    wrong = worked.value(
        "SELECT count(*) FROM transitions AS t JOIN events AS o ON o.seq = t.seq "
        "WHERE (o.boot, o.step, o.obs) IS DISTINCT FROM (t.boot, t.step + 1, t.next_obs) "
        "OR o.kind <> 'observation' OR o.terminated <> t.terminated"
    )
    assert wrong == 0
    assert worked.value("SELECT count(*) FROM transitions WHERE terminated") == worked.value(
        "SELECT count(*) FROM episodes WHERE ended_by = 'terminated'"
    )


def test_episodes_add_up(worked: RealHub) -> None:
    for row in worked.sql("SELECT steps, return, started < ended AS forward FROM episodes"):
        assert row == {"steps": 39, "return": 39.0, "forward": True}


def test_policies_name_their_parents_and_hashes(worked: RealHub) -> None:
    made = worked.sql("SELECT version, parent, sha256 FROM policies WHERE agent = 'cart'")
    assert [row["parent"] for row in made] == [None, *(row["version"] for row in made[:-1])]
    assert all(len(row["sha256"]) == 64 for row in made)


def test_secrets_are_in_no_view(worked: RealHub) -> None:
    for view in control_views(worked):
        names = header(worked, view)
        assert not {"secret", "api_key", "key", "password"} & set(names)
        with pytest.raises(OperatorFault, match="secret"):
            worked.sql(f"SELECT secret FROM {view}")


def control_views(hub: RealHub) -> list[str]:
    """The views the hub says there are."""
    with pytest.raises(OperatorFault) as refused:
        hub.sql("SELECT * FROM nothing")
    return str(refused.value).rpartition("there are: ")[2].split(", ")
