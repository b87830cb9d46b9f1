"""`GET /v1/actions/{seq}`: what is told of an action, to whom, and what is not there."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import msgspec
import pytest

from bridge.actions import COLUMNS, Row, explanation
from bridge.openapi import document
from hub.frames import LENGTH
from hub.log.analyst.messages import Ask, Chunk, End, Refused, framed, from_client, socket_path
from tests.bridge.rooms import bearer
from tests.bridge.test_sql import SqlRooms
from tests.intake.fakes import agent_spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.log.analyst.messages import ToClient

WAIT_S: Final = 20.0
CLAMPED: Final = Row(
    seq=12,
    ts="2026-01-02T03:04:05.000006",
    kind="action",
    agent="cart",
    device="cart-1",
    session=3,
    boot=7,
    step=5,
    obs=None,
    action=[0.0],
    policy=4,
    logprob=math.log(0.25),
    value=1.5,
    source="clamp",
    reason="interlock o[0] > 80",
    latency_us=420,
    payload='{"wanted":[1.0]}',
)
SEEN: Final = msgspec.structs.replace(
    CLAMPED, seq=11, kind="observation", obs=[81.5, 0.0], action=None, source=None, payload=None
)


class Log:
    """A played analyst over a few rows: it understands the two questions that are asked of it."""

    def __init__(self, data: Path, *rows: Row) -> None:
        self._data = data
        self.rows = list(rows)
        self.asked: list[Ask] = []
        self.refused: Refused | None = None
        self.holding = asyncio.Event()
        self.holding.set()

    async def open(self) -> asyncio.Server:
        """Listen where the analyst would."""
        return await asyncio.start_unix_server(self._serve, str(socket_path(self._data)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        ask = from_client.decode(await reader.readexactly(length))
        self.asked.append(ask)
        await self.holding.wait()
        messages: list[ToClient] = (
            [self.refused] if self.refused else [*self._found(ask.sql), End()]
        )
        with contextlib.suppress(ConnectionError):
            for message in messages:
                writer.write(framed(message))
            await writer.drain()
        writer.close()

    def _found(self, sql: str) -> list[Chunk]:
        where = sql.partition("WHERE ")[2]
        assert sql.startswith(f"SELECT {COLUMNS} FROM events WHERE ")
        if where.startswith("seq = "):
            seq = int(where.split()[2])
            rows = [row for row in self.rows if row.seq == seq]
        else:
            kind = where.partition("kind = '")[2].partition("'")[0]
            assert where.startswith(
                "agent = 'cart' AND device = 'cart-1' AND boot = 7 AND step = 5"
            )
            rows = [row for row in self.rows if row.kind == kind]
        return [Chunk(msgspec.json.encode(row) + b"\n") for row in rows[:1]]


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[SqlRooms]:
    async with SqlRooms(tmp_path) as rooms:
        yield rooms


@pytest.fixture
async def log(rooms: SqlRooms) -> AsyncIterator[Log]:
    log = Log(rooms.data, SEEN, CLAMPED)
    server = await log.open()
    yield log
    server.close()
    await server.wait_closed()


@pytest.fixture
def key(rooms: SqlRooms) -> str:
    """Of the agent the rows are of."""
    return rooms.make_agent("cart")


async def told(rooms: SqlRooms, seq: object, key: str) -> tuple[int, dict[str, Any]]:
    """Status and document."""
    response = await rooms.ask("GET", f"/v1/actions/{seq}", headers=bearer(key))
    assert response.headers["access-control-allow-origin"] == "*"
    document: dict[str, Any] = response.json()
    return response.status_code, document


async def test_an_admin_is_told_all_there_is_to_know(rooms: SqlRooms, log: Log, key: str) -> None:
    status, explained = await told(rooms, 12, rooms.make_user("ann", "admin"))
    assert status == 200
    assert explained == {
        "seq": 12,
        "ts": "2026-01-02T03:04:05.000006",
        "agent": "cart",
        "device": "cart-1",
        "session": 3,
        "boot": 7,
        "step": 5,
        "action": 0,
        "source": "clamp",
        "reason": "interlock o[0] > 80",
        "wanted": 1,
        "policy": 4,
        "logprob": math.log(0.25),
        "value": 1.5,
        "explored": True,
        "latency_us": 420,
        "observation_seq": 11,
        "observation": [81.5, 0.0],
    }
    api = msgspec.json.decode(document())
    schema = api["components"]["schemas"]["Explanation"] | {"components": api["components"]}
    jsonschema.validate(explained, schema)
    assert {ask.agents for ask in log.asked} == {None}, "one instance for everybody"
    assert {ask.after for ask in log.asked} == {4711}, "all that was acknowledged"


async def test_an_owner_is_told_of_the_own_agents_and_of_nothing_else(
    rooms: SqlRooms, log: Log
) -> None:
    eve = rooms.make_user("eve", "owner")
    rooms.make_agent("cart", owner="eve")
    assert (await told(rooms, 12, eve))[0] == 200
    status, refused = await told(rooms, 12, rooms.make_user("bob", "owner"))
    assert (status, refused["status"]) == (404, 404)
    missing = await told(rooms, 13, rooms.make_user("ann", "admin"))
    assert missing[1] == {**refused, "detail": refused["detail"].replace("12", "13")}


async def test_a_device_is_told_of_its_agent_and_a_key_of_one_device_of_that_one(
    rooms: SqlRooms, log: Log, key: str
) -> None:
    assert (await told(rooms, 12, key))[0] == 200
    assert (await told(rooms, 12, rooms.make_key("cart", "cart-1")))[0] == 200
    assert (await told(rooms, 12, rooms.make_key("cart", "cart-2")))[0] == 404
    assert (await told(rooms, 12, rooms.make_agent("other")))[0] == 404


@pytest.mark.parametrize("headers", [{}, bearer("nobody.secret"), {"X-Api-Key": "x"}])
async def test_nobody_unknown_is_told_anything(
    rooms: SqlRooms, log: Log, headers: dict[str, str]
) -> None:
    response = await rooms.ask("GET", "/v1/actions/12", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "auth")
    assert response.headers["content-type"] == "application/problem+json"
    assert log.asked == []


@pytest.mark.parametrize(
    "seq",
    ["0", "99", "-12", "12.0", "+12", "1_2", "0x0c", "abc", "%2e%2e", "12%20", "١٢", "9" * 19],
)
async def test_what_is_no_action_here_is_a_404_problem(
    rooms: SqlRooms, log: Log, key: str, seq: str
) -> None:
    status, refused = await told(rooms, seq, key)
    assert status == 404
    assert "there is no event" in refused["detail"]
    assert refused["title"] == "Not Found"


async def test_the_seq_of_an_observation_names_its_action(
    rooms: SqlRooms, log: Log, key: str
) -> None:
    status, refused = await told(rooms, 11, key)
    assert (status, refused["detail"]) == (404, "event 11 is an observation; its action is 12")
    log.rows.remove(CLAMPED)
    assert (await told(rooms, 11, key))[1][
        "detail"
    ] == "event 11 is an observation; it has no action"


async def test_another_event_is_said_to_be_one(rooms: SqlRooms, log: Log, key: str) -> None:
    log.rows = [msgspec.structs.replace(CLAMPED, kind="update", step=None)]
    status, refused = await told(rooms, 12, key)
    assert (status, refused["detail"]) == (404, "event 12 is of kind 'update', not an action")


async def test_an_action_whose_observation_is_no_longer_kept_is_explained_without(
    rooms: SqlRooms, log: Log, key: str
) -> None:
    log.rows.remove(SEEN)
    status, explained = await told(rooms, 12, key)
    assert (status, explained["observation"], explained["observation_seq"]) == (200, None, None)


@pytest.mark.parametrize("refused", [Refused("it took too long"), Refused("behind", True)])
async def test_what_can_not_be_looked_up_now_is_503(
    rooms: SqlRooms, log: Log, key: str, refused: Refused
) -> None:
    log.refused = refused
    status, problem = await told(rooms, 12, key)
    assert (status, problem["code"], problem["detail"]) == (503, "busy", refused.message)


async def test_without_an_analyst_it_is_503(rooms: SqlRooms, key: str) -> None:
    assert (await told(rooms, 12, key))[0] == 503


async def test_devices_take_turns_and_do_not_keep_operators_waiting(
    rooms: SqlRooms, log: Log, key: str
) -> None:
    log.holding.clear()
    asking = asyncio.create_task(told(rooms, 12, key))
    async with asyncio.timeout(WAIT_S):
        while not log.asked:  # noqa: ASYNC110 - what an analyst would see
            await asyncio.sleep(0)
    status, problem = await told(rooms, 12, key)
    assert (status, problem["detail"]) == (503, "another device is asking; ask again")
    operator = asyncio.create_task(told(rooms, 12, rooms.make_user("ann", "admin")))
    async with asyncio.timeout(WAIT_S):
        while len(log.asked) < 2:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
    log.holding.set()
    assert ((await asking)[0], (await operator)[0]) == (200, 200)
    assert (await told(rooms, 12, key))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_405(rooms: SqlRooms, method: str) -> None:
    response = await rooms.ask(method, "/v1/actions/12")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert response.headers["content-type"] == "application/problem+json"


async def test_preflight_allows_any_origin_to_read(rooms: SqlRooms) -> None:
    response = await rooms.ask("OPTIONS", "/v1/actions/12")
    assert response.status_code == 204
    assert response.headers["access-control-allow-methods"] == "GET, OPTIONS"
    assert "authorization" in response.headers["access-control-allow-headers"]


# --- what a row says --------------------------------------------------------------------------

BOX: Final = agent_spec(actions=[[2, 1], -1.0, 1.0])


def explained(spec: Any, **columns: Any) -> Any:
    """Of a row that differs from CLAMPED in these."""
    return explanation(msgspec.structs.replace(CLAMPED, **columns), SEEN, spec)


@pytest.mark.parametrize(
    ("flat", "action"),
    [([0.5, -1.0], [[0.5], [-1.0]]), (None, None), ([0.5], [0.5]), ([], [])],
)
def test_an_action_has_the_shape_of_its_space_where_it_fits(flat: Any, action: Any) -> None:
    assert explained(BOX, action=flat).action == action


def test_what_json_could_not_say_stays_flat() -> None:
    wanted = explained(BOX, payload='{"wanted":[null,2.0],"raw":[1.0,2.0]}').wanted
    assert wanted == [None, 2.0]


def test_an_action_of_a_deleted_agent_stays_as_it_was_logged() -> None:
    gone = explained(None)
    assert (gone.action, gone.wanted, gone.explored) == ([0.0], [1.0], None)


def test_what_was_sent_as_it_was_wanted_has_no_wish_beside_it() -> None:
    assert explained(BOX, payload=None).wanted is None
    assert explained(BOX, payload='{"raw":[1.0,2.0]}').wanted is None


SEVERAL: Final = agent_spec(actions={"multi_discrete": [3, 2]})


def dqn(n: int) -> Any:
    return agent_spec(actions=n, algorithm="DQN")


@pytest.mark.parametrize(
    ("spec", "columns", "explored"),
    [
        (agent_spec(), {"policy": None, "logprob": None}, None),
        (agent_spec(), {"logprob": None}, False),
        (agent_spec(), {"logprob": math.log(0.6)}, False),
        (agent_spec(), {"logprob": math.log(0.5)}, True),
        (agent_spec(), {"logprob": math.log(0.4)}, True),
        (agent_spec(actions=4), {"logprob": math.log(0.51)}, False),
        (agent_spec(actions=4), {"logprob": math.log(0.4)}, None),
        (agent_spec(actions=4), {"logprob": math.log(0.25)}, True),
        (BOX, {"logprob": None}, False),
        (BOX, {"logprob": 2.5}, True),
        (dqn(4), {"logprob": None}, False),
        (dqn(4), {"logprob": math.log(0.05 / 4)}, True),
        (dqn(4), {"logprob": math.log(0.05 / 4 + 0.95)}, False),
        (dqn(4), {"logprob": math.log(0.25)}, True),
        (dqn(4), {"logprob": math.log(0.2501)}, False),
        (dqn(1), {"logprob": 0.0}, True),
        (SEVERAL, {"logprob": math.log(0.6)}, False),
        (SEVERAL, {"logprob": math.log(0.3)}, None),
        (SEVERAL, {"logprob": math.log(0.1)}, True),
        (agent_spec(actions={"multi_binary": 2000}), {"logprob": -1500.0}, True),
    ],
)
def test_whether_it_explored_is_read_off_what_is_logged(
    spec: Any, columns: dict[str, Any], explored: bool | None
) -> None:
    assert explained(spec, **columns).explored is explored


def test_explored_agrees_with_the_actor() -> None:
    """Goal: DQN's draws are told from its best choices. Method: the actor's own probabilities."""
    count = 5
    for epsilon in (0.01, 0.05, 0.5, 0.9, 0.999):
        for best in (True, False):
            logprob = math.log(epsilon / count + (1.0 - epsilon) * best)
            assert explained(dqn(count), logprob=logprob).explored is not best
