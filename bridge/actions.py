"""`GET /v1/actions/{seq}`: why a device was told what it was told, from the log alone.

An operator may ask about the own agents, an admin about all, a device's key about what it may speak
for. Whatever else there is looks to them as if it were not there.
"""

from __future__ import annotations

import math
import re
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import litestar
import msgspec
from litestar import Request, route
from msgspec import Struct

from bridge.bodies import Explanation
from bridge.errors import not_found, problem, unauthorized
from bridge.http import READ_ONLY, Response
from bridge.native import secret_of
from hub import spaces
from hub.errors import AccessDenied, DeviceFault, LogUnavailable, OperatorFault
from hub.learner.algorithms import elsewhere
from hub.log.analyst.ask import stream
from hub.log.analyst.messages import Ask
from hub.registry.access import agent_of, operator_of
from hub.words import AgentName, Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.types import ControllerRouterHandler, Scope

    from hub.processes import Hub
    from hub.registry.fold import Spec

SEQ: Final = re.compile(r"[0-9]{1,18}")
"""Whatever fits an int64; `int` alone also takes signs, underscores and other scripts' digits."""
DEVICES_ASKING_MAX: Final = 1
"""Device keys answered at once: no device takes the analyst from operators."""


class Row(Struct):
    """One row of the view `events`, as the analyst writes it."""

    seq: int
    ts: str
    kind: str
    agent: str
    device: str
    session: int
    boot: int
    step: int | None
    obs: list[float | None] | None
    action: list[float | None] | None
    policy: int | None
    logprob: float | None
    value: float | None
    source: str | None
    reason: str | None
    latency_us: int | None
    payload: str | None


EPSILON_GREEDY: Final = ("epsilon_greedy", "epsilon_greedy_quantiles")
ROUNDING: Final = 1e-5
"""Of a probability that was logged as the float32 of its logarithm."""
COLUMNS: Final = ", ".join(Row.__struct_fields__)
_rows: Final = msgspec.json.Decoder(Row)


def actions_route(hub: Hub) -> ControllerRouterHandler:
    """The route, for pages of any origin to read."""
    actions = Actions(hub)

    # Litestar has no path parameters for bare ASGI; nothing here is on a device's step path.
    @route("/v1/actions/{seq:str}", http_method=["GET", "OPTIONS"], status_code=HTTPStatus.OK)
    async def explain(request: Request[Any, Any, Any]) -> litestar.Response[bytes]:
        answer = Response(HTTPStatus.NO_CONTENT, b"")
        if request.method == "GET":
            answer = await actions.answer(request.scope, request.path_params["seq"])
        headers = {name.decode(): value.decode() for name, value in READ_ONLY}
        return litestar.Response(
            answer.body,
            status_code=answer.status,
            media_type=answer.content_type.decode(),
            headers=headers,
        )

    return explain


class Actions:
    """Answers, over a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._devices_asking = 0

    async def answer(self, scope: Scope, text: str) -> Response:
        """Who asks, and what comes of it."""
        try:
            sees, is_device = self._sight(dict(scope["headers"]))
        except AccessDenied as error:
            return unauthorized(str(error))
        if is_device and self._devices_asking >= DEVICES_ASKING_MAX:
            return problem(DeviceFault(Code.BUSY, "another device is asking; ask again"))
        self._devices_asking += is_device
        try:
            return await self._explain(text, sees)
        except (LogUnavailable, OperatorFault) as error:  # the latter: it took too long
            return problem(DeviceFault(Code.BUSY, str(error)))
        finally:
            self._devices_asking -= is_device

    def _sight(self, headers: dict[bytes, bytes]) -> tuple[Callable[[Row], bool], bool]:
        """Which rows the client may see, and whether it is a device.

        Raises:
            AccessDenied: no key, or one that is not accepted.
        """
        registry = self._hub.registry
        secret = secret_of(headers)
        with suppress(AccessDenied):
            key, spec = agent_of(registry, secret)
            agent, device = spec.agent.name, key.device
            return lambda row: row.agent == agent and device in (None, row.device), True
        agents = registry.visible_to(operator_of(registry, secret))
        return lambda row: agents is None or row.agent in agents, False

    async def _explain(self, text: str, sees: Callable[[Row], bool]) -> Response:
        seq = int(text) if SEQ.fullmatch(text) else None
        row = None if seq is None else await self._row(f"seq = {seq}")
        if row is None or not sees(row):
            return not_found(f"there is no event {text[:40]!r} that this key may see")
        if row.kind == "observation":
            answer = await self._row(f"{_same_step(row)} AND kind = 'action' AND seq > {seq}")
            where = "it has no action" if answer is None else f"its action is {answer.seq}"
            return not_found(f"event {seq} is an observation; {where}")
        if row.kind != "action":
            return not_found(f"event {seq} is of kind {row.kind!r}, not an action")
        seen = await self._row(
            f"{_same_step(row)} AND kind = 'observation' AND seq < {seq}", order="DESC"
        )
        spec = self._hub.registry.agents.get(AgentName(row.agent))
        return Response(HTTPStatus.OK, msgspec.json.encode(explanation(row, seen, spec)))

    async def _row(self, where: str, order: str = "ASC") -> Row | None:
        """The first event of all agents that fits; what the client may see is looked at after.

        So one instance of the analyst answers everybody, and no device has one opened for it.

        Raises:
            LogUnavailable: not now.
        """
        sql = f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY seq {order} LIMIT 1"  # noqa: S608 - ours
        ask = Ask(sql, "json", self._hub.log.last_seq, None)
        async with aclosing(stream(self._hub.data, ask)) as pieces:
            lines = b"".join([piece async for piece in pieces])
        return _rows.decode(lines) if lines else None


def explanation(row: Row, seen: Row | None, spec: Spec | None) -> Explanation:
    """What an action's event says, in the words of its agent's action space.

    Args:
        row: the action.
        seen: the observation it answers; None when it is no longer kept.
        spec: None when the agent was deleted; numbers then stay flat, as they are logged.
    """
    beside: dict[str, Any] = msgspec.json.decode(row.payload) if row.payload else {}
    return Explanation(
        seq=row.seq,
        ts=row.ts,
        agent=row.agent,
        device=row.device,
        session=row.session,
        boot=row.boot,
        step=row.step or 0,
        action=_action(spec, row.action),
        source=row.source or "",
        reason=row.reason,
        wanted=_action(spec, beside.get("wanted")),
        policy=row.policy,
        logprob=row.logprob,
        value=row.value,
        explored=_explored(row, spec),
        latency_us=row.latency_us,
        observation_seq=None if seen is None else seen.seq,
        observation=None if seen is None else seen.obs,
    )


def _explored(row: Row, spec: Spec | None) -> bool | None:
    """Whether the policy drew something else than what it held for the best; None = unknown.

    A greedy action has no log-probability, a Box is never drawn at its very mean. Of n choices, or
    n combinations of several, at least one has a probability of 1/n or more, so whatever has less
    is not the best. What has more is an epsilon-greedy policy's best, as epsilon leaves each of the
    others at most epsilon/n; of PPO's that is sure of more than half.
    """
    if row.policy is None or spec is None:
        return None
    if row.logprob is None:
        return False
    assert not isinstance(spec.actions, spaces.Dict), "an action is no Dict"
    if isinstance(spec.actions, spaces.Box):
        return True
    log_n = sum(map(math.log, spaces.choices(spec.actions)))
    if row.logprob + log_n < math.log1p(ROUNDING):
        return True
    kind = None
    with suppress(OperatorFault):  # its algorithm is not installed any more
        algorithm = elsewhere.find(spec.agent.algorithm)
        kind = algorithm and algorithm.heads[type(spec.actions)].kind
    surely_best = kind in EPSILON_GREEDY or math.exp(row.logprob) > 1 / 2
    return False if surely_best else None


def _action(spec: Spec | None, flat: list[float | None] | None) -> int | list[Any] | None:
    """As the device got it."""
    if flat is None:
        return None
    numbers = [number for number in flat if number is not None]
    if spec is None or len(numbers) != spaces.size(spec.actions):
        return list(flat)
    return spaces.nested(spec.actions, numbers)


def _same_step(row: Row) -> str:
    """The condition that finds what else is of the same step; by the agent, files are left out."""
    agent, device = (name.replace("'", "''") for name in (row.agent, row.device))
    step = row.step or 0
    return f"agent = '{agent}' AND device = '{device}' AND boot = {row.boot} AND step = {step}"
