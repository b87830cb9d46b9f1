"""Make an agent or change one: a form that follows from its algorithm's typed parameters.

What is typed stays typed: a refusal shows the form again, with the reason. Without scripts all of
it works by buttons; with them a space is checked while it is typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Response, Template

from bridge.console.desk import AtDesk, ByVisit, Desk, Visit, back, see
from bridge.console.mistakes import TEXT_MAX, mistake_of, typed
from bridge.console.sessions import Flash
from bridge.console.snippets import example
from hub import spaces
from hub.control import ChangeAgent, CreateAgent
from hub.errors import OperatorFault
from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.help import Field, fields
from hub.registry.acts import NewAgent
from hub.registry.limits import FRACTIONAL, LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.words import Agent

PARAMETER: Final = "p."
"""In front of the name of a form field that is a parameter of the algorithm."""
USUAL: Final = {
    "name": "",
    "algorithm": "PPO",
    "observations": "[[4], -1.0, 1.0]",
    "actions": "2",
    "sharing": "shared",
    "fallback": "hold",
    "safety": "",
    "reward": "",
    "deadline_ms": "",
    "missing_reward": "",
    **dict.fromkeys(LIMITS, ""),
}
NUMBERS: Final = ("deadline_ms", "missing_reward", *LIMITS)
FRACTIONS: Final = {"missing_reward", *FRACTIONAL}


@get("/new-agent")
async def new_agent(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """The empty form; `?algorithm=` says whose parameters it asks for."""
    asked = {k: v for k, v in request.query_params.items() if isinstance(v, str)}
    return _form(request, desk, visit, USUAL | {"owner": visit.sight.name} | asked)


@get("/new-agent/parameters")
async def parameters_part(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> Template:
    """The part of the form that another algorithm changes."""
    values = USUAL | {k: v for k, v in request.query_params.items() if isinstance(v, str)}
    return desk.page(request, "parameters.html", fields=_fields(values), values=values)


@post("/new-agent")
async def create(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Response[Any]:
    """Make it, and show how a device connects, with its key."""
    sight = visit.sight
    values = USUAL | {"owner": sight.name} | await typed(request)
    if not sight.is_admin:
        values["owner"] = sight.name
    if "show" in values:  # the button for those without scripts
        return _form(request, desk, visit, values)
    try:
        declared = msgspec.convert(_declared(values) | {"name": values["name"]}, NewAgent)
        made = await desk.act(visit, CreateAgent(declared), lambda: None)
    except (OperatorFault, msgspec.ValidationError) as fault:
        return _form(request, desk, visit, values, fault)
    said = f"Agent {declared.name} is there. This is its key, filled in below."
    visit.login.flash = Flash(said, secret=made["api_key"])
    return see(f"/agents/{declared.name}/connect")


@get("/agents/{name:str}/edit")
async def edit(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Template:
    """The same form, filled in; what can't be changed is only shown."""
    agent = visit.sight.agent(name).agent
    return _form(request, desk, visit, _values_of(agent), agent=agent)


@post("/agents/{name:str}/edit")
async def change(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Response[Any]:
    """Change it while it runs."""
    agent = visit.sight.agent(name).agent
    values = _values_of(agent) | await typed(request)
    try:
        changes = _changes(agent, values, visit)
        if changes:
            await desk.act(visit, ChangeAgent(name, changes), lambda: visit.sight.agent(name))
    except OperatorFault as fault:
        return _form(request, desk, visit, values, fault, agent)
    said = f"Changed: {', '.join(sorted(changes))}." if changes else "Nothing was different."
    return back(visit, f"/agents/{name}/edit", said)


@get("/check-space")
async def check_space(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """What a declared space means, with an example; or what is wrong with it."""
    query = request.query_params
    what = "actions" if "actions" in query else "observations"
    return desk.page(request, "space.html", **checked(str(query.get(what, "")), what))


def checked(text: str, what: str) -> dict[str, Any]:
    """One sentence about a space as it is typed."""
    try:
        declared = _json(text, what)
        space = spaces.parse(declared)
        if what == "actions" and isinstance(space, spaces.Dict):
            raise OperatorFault("actions are no object of spaces")
    except OperatorFault as fault:
        return {"good": False, "said": str(fault), "doubts": [], "example": None}
    count = spaces.size(space)
    said = f"{type(space).__name__}, {count} number{'' if count == 1 else 's'}"
    shown = msgspec.json.encode(example(space)).decode()
    return {"good": True, "said": said, "doubts": spaces.doubts(declared), "example": shown}


def _form(
    request: Request[Any, Any, Any],
    desk: Desk,
    visit: Visit,
    values: Mapping[str, str],
    fault: Exception | None = None,
    agent: Agent | None = None,
) -> Template:
    parameters = _fields(values)
    users = {"admin", visit.sight.name, *desk.hub.registry.users} if visit.sight.is_admin else ()
    words = _words(parameters, agent) | ({"owner": "user"} if users else {})
    mistake = None if fault is None else mistake_of("agent", {}, fault, words)
    return desk.form(
        request,
        "agent_form.html",
        mistake,
        values=values,
        agent=agent,
        fields=parameters,
        algorithms=[row.name for row in elsewhere.usable()],
        users=sorted(users),
        checks={what: checked(values[what], what) for what in ("observations", "actions")},
    )


def _words(parameters: list[Field], agent: Agent | None) -> dict[str, str]:
    """Each field of the form that can be changed, by what messages call it."""
    words = {name: name for name in (*NUMBERS, "fallback", "safety", "sharing", "reward")}
    words |= {PARAMETER + field.name: field.name for field in parameters}
    if agent is None:
        words |= {name: name for name in ("observations", "actions", "algorithm")}
        words["name"] = "agent"
    return words


def _fields(values: Mapping[str, str]) -> list[Field]:
    """Of the algorithm that is named; none when there is none of this name."""
    try:
        row = elsewhere.find(values["algorithm"])
    except OperatorFault:
        row = None
    return [] if row is None else fields(row)


def _declared(values: Mapping[str, str]) -> dict[str, Any]:
    """What the form says, as `NewAgent` has it.

    Raises:
        OperatorFault: something is not what it should be.
    """
    numbers = {name: _number(name, values.get(name, "")) for name in NUMBERS}
    return {
        "algorithm": values.get("algorithm", ""),
        "observations": _json(values.get("observations", ""), "observations"),
        "actions": _json(values.get("actions", ""), "actions"),
        "parameters": {
            name.removeprefix(PARAMETER): text
            for name, text in values.items()
            if name.startswith(PARAMETER) and text
        },
        "sharing": values.get("sharing", "shared"),
        "owner": values.get("owner", "admin"),
        "fallback": _fallback(values.get("fallback", "hold")),
        "safety": _json(values["safety"], "safety") if values.get("safety") else None,
        "reward": values.get("reward") or None,
        **numbers,
    }


def _changes(agent: Agent, values: Mapping[str, str], visit: Visit) -> dict[str, Any]:
    """What is different from the agent as it stands.

    Raises:
        OperatorFault: as `_declared`.
    """
    declared = _declared(values)
    stands: dict[str, Any] = msgspec.to_builtins(agent)
    names = ["sharing", "fallback", "safety", "reward", *NUMBERS]
    if visit.sight.is_admin:
        names.append("owner")
    changes = {name: declared[name] for name in names if declared[name] != stands.get(name)}
    parameters = _other_parameters(agent, values)
    return changes | ({"parameters": parameters} if parameters else {})


def _other_parameters(agent: Agent, values: Mapping[str, str]) -> dict[str, str]:
    """Parameters to be set; one that was emptied gets its default again."""
    others = {}
    for field in _fields(values):
        before, now = agent.parameters.get(field.name, ""), values.get(PARAMETER + field.name, "")
        if now == before:
            continue
        if not now and field.default is None:
            raise OperatorFault(
                f"{field.name} was set and its default is the library's own: write the value"
            )
        others[field.name] = now or field.default or ""
    return others


def _values_of(agent: Agent) -> dict[str, str]:
    """An agent as the form shows it."""
    stands: dict[str, Any] = msgspec.to_builtins(agent)
    values = {name: "" if stands[name] is None else str(stands[name]) for name in NUMBERS}
    for name in ("observations", "actions"):
        values[name] = msgspec.json.encode(stands[name]).decode()
    safety, fallback = stands["safety"], agent.fallback
    values |= {
        "name": agent.name,
        "algorithm": agent.algorithm,
        "sharing": agent.sharing,
        "owner": agent.owner,
        "fallback": fallback
        if isinstance(fallback, str)
        else msgspec.json.encode(fallback).decode(),
        "reward": agent.reward or "",
        "safety": "" if safety is None else msgspec.json.encode(safety).decode(),
    }
    return values | {PARAMETER + name: text for name, text in agent.parameters.items()}


def _json(text: str, what: str) -> Any:
    if len(text) > TEXT_MAX:
        raise OperatorFault(f"{what}: over {TEXT_MAX} characters")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OperatorFault(f"{what} is not JSON: {error}; try [[4], -1.0, 1.0] or 2") from error


def _fallback(text: str) -> Any:
    return text if text in ("hold", "none") else _json(text, "fallback")


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text) if name in FRACTIONS else int(text)
    except ValueError:
        kind = "a number" if name in FRACTIONS else "a whole number"
        raise OperatorFault(f"{name} is {kind} or empty, not {text[:40]!r}") from None


ROUTES: Final = (new_agent, parameters_part, create, edit, change, check_space)
