"""*Agents*: the list, one agent's page, and what its buttons do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect, Response, Template

from bridge.console import look_up
from bridge.console.curve import curve_of
from bridge.console.desk import AtDesk, ByVisit, Desk, back, refused, see
from hub.control import ChangeAgent, RestartAgent
from hub.errors import OperatorFault
from hub.facts import CurveCleared
from hub.figures import alerts_open
from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.libraries import EXTRA, installed
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from hub.control import AgentAct
    from hub.registry.fold import Spec

CHANGES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "pause": ({"status": "paused"}, "{} is paused: its devices get the fallback."),
    "resume": ({"status": "active"}, "{} acts and learns again."),
    "learn": ({"learning": True}, "{} learns again."),
    "rest": ({"learning": False}, "{} acts by its policy and learns nothing."),
    "delete": ({"status": "deleted"}, "{} was deleted; the log keeps what it learnt."),
}


@get("/")
async def home() -> Redirect:
    """Where people go first."""
    return see("/agents")


@get("/agents")
async def list_agents(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """All that the person may see, live."""
    desk.rates.look()
    returns = await look_up.recent_returns(desk, visit.sight)
    return desk.page(request, "agents.html", rows=overview(desk, visit.sight, returns))


def overview(desk: Desk, sight: Sight, returns: dict[str, float]) -> list[dict[str, Any]]:
    """A row an agent, those that fail first.

    `returns` stands in where no episode has ended since the hub was started.
    """
    specs = sight.agents()
    pulses = desk.rates.agents(spec.agent.name for spec in specs)
    rows = []
    for spec in specs:
        name = spec.agent.name
        pulse = pulses[name]
        mean = returns.get(name) if pulse.returns is None else pulse.returns
        rows.append({**standing(desk, spec), "pulse": pulse, "mean": mean})
    return sorted(rows, key=lambda row: not row["troubles"])


def standing(desk: Desk, spec: Spec) -> dict[str, Any]:
    """What an agent is and does now."""
    agent, registry = spec.agent, desk.hub.registry
    policy = registry.policies.get(agent.name)
    troubles = desk.hub.pool.troubles(agent.name)
    return {
        "agent": agent,
        "version": None if policy is None else policy.version,
        "state": _state(spec, awake=desk.hub.pool.awake(agent.name), failing=bool(troubles)),
        "troubles": troubles,
    }


def _state(spec: Spec, *, awake: bool, failing: bool) -> tuple[str, str]:
    """One word, and its colour."""
    agent = spec.agent
    if agent.status == "paused":
        return "paused", "warn"
    if failing:
        return "failing", "bad"
    if agent.algorithm == EXTERNAL:
        return "remote", "idle"
    if not agent.learning:
        return "acting", "idle"
    return ("learning", "good") if awake else ("asleep", "idle")


@get("/agents/{name:str}")
async def agent_page(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Template:
    """One agent: how it does, who its devices are, and what it was told to do last."""
    spec = visit.sight.agent(name)
    desk.rates.look()
    found = await look_up.about_agent(desk, visit.sight, spec)
    return desk.page(
        request, "agent.html", **agent_now(desk, spec), **found, episodes_max=look_up.EPISODES_SHOWN
    )


def agent_now(desk: Desk, spec: Spec) -> dict[str, Any]:
    """What a page about one agent says of this moment."""
    name = spec.agent.name
    theirs = desk.rates.theirs(name)
    shown = sorted(desk.rates.newest(theirs))
    return {
        **standing(desk, spec),
        "pulse": desk.rates.agents([name])[name],
        "raised": [alert for alert in alerts_open(desk.hub) if alert.agent == name],
        "devices": [(device, desk.rates.device(device)) for device in shown],
        "more_devices": len(theirs) - len(shown),
    }


@get("/agents/{name:str}/curve")
async def curve(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Response[bytes]:
    """The learning curve as numbers."""
    spec = visit.sight.agent(name)
    return Response(await curve_of(desk, visit.sight, spec), media_type="application/json")


@post("/agents/{name:str}/{what:str}")
async def change(
    desk: AtDesk, visit: ByVisit, name: FromPath[str], what: FromPath[str]
) -> Redirect:
    """A button: pause, resume, learn, rest, restart, clear, delete."""
    spec = visit.sight.agent(name)
    page = f"/agents/{name}"
    if what == "clear":
        await desk.note(CurveCleared(visit.sight.name), spec.agent.name)
        return back(visit, page, "The curve begins anew; all of it stays in the log.")
    act, said = _act(name, what)
    try:
        await desk.act(visit, act, lambda: visit.sight.agent(name))
    except OperatorFault as fault:
        return refused(visit, page, fault)
    return back(visit, "/agents" if what == "delete" else page, said.format(f"Agent {name}"))


def _act(name: str, what: str) -> tuple[AgentAct, str]:
    if what == "restart":
        return RestartAgent(name), "{} begins anew, without what it had learnt."
    if what not in CHANGES:
        raise NotFoundException("There is no such button.")
    changes, said = CHANGES[what]
    return ChangeAgent(name, changes), said


@get("/algorithms")
async def algorithms(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """What can learn here, and what each is able to."""
    rows = [(row, row.library not in EXTRA or installed(row.library)) for row in elsewhere.usable()]
    return desk.page(request, "algorithms.html", rows=rows)


ROUTES: Final = (home, list_agents, agent_page, curve, change, algorithms)
