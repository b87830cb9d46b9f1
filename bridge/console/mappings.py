"""*Mappings*: how legacy devices send; one is tried on a payload before any device is read by it.

What is typed stays typed, whatever is done with it: try it, read again by it what a device sent
before, or add it. Without scripts it is the same page.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Response, Template

from bridge.console.desk import AtDesk, ByVisit, Desk, Visit, back, refused
from hub.errors import LogUnavailable, OperatorFault
from hub.intake.mapping import again
from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.read import TEXT_MAX, read_mapping
from hub.intake.mapping.trial import Trial, try_out
from hub.mappings import Mapping, MappingName
from hub.registry.mapping_acts import AddMapping, RemoveMapping

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from hub.registry.fold import Spec

READ_AGAIN: Final = 50
"""Newest observations of a device that are shown."""
EXAMPLE: Final = """format = "form"

[[observations]]
name = "temp"
path = "t"
unit_path = "unit"              # where it says its unit itself
unit = "Cel"                    # what the agent sees
clip = [-20, 60]

[[observations]]
name = "power"
path = "watts"
sent_in = "W"
unit = "kW"
clip = [0, 10]

[action]
values = ["OFF", "ON"]          # for action 0 and 1
"""
EMPTY: Final = {
    "text": EXAMPLE,
    "payload": "t=70.7&unit=°F&watts=1200",
    "before": "",
    "written": "text",
    "agent": "",
    "reward": "",
    "name": "",
    "device": "",
}
Form = dict[str, str]
"""As `EMPTY` has it: what stands in the fields of the page."""


@get("/mappings")
async def mappings_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """All that the person may see, and what their devices send that none of them reads."""
    unread = desk.hub.receiver.mappings.unread
    return desk.page(
        request,
        "mappings.html",
        rows=visit.sight.mappings(),
        agents=desk.hub.registry.agents,
        unread=[
            (spec.agent.name, unread.counts[spec.agent.name], unread.newest[spec.agent.name])
            for spec in visit.sight.agents()
            if unread.counts[spec.agent.name]
        ],
    )


@get("/mappings/try")
async def blank(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """The form, with an example; or, `?from=`, with a mapping as it stands."""
    asked = request.query_params.get("from")
    if asked is None:
        return _page(request, desk, visit, EMPTY)
    known = visit.sight.mapping(str(asked))
    text = msgspec.json.format(msgspec.json.encode(known.mapping), indent=2).decode()
    form = EMPTY | {"text": text, "payload": "", "agent": known.agent, "name": known.name}
    return _page(request, desk, visit, form)


@post("/mappings/try")
async def try_it(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """What comes of a payload, and what the device would be told; nothing is changed."""
    form = await _typed(request)
    try:
        mapping, spec = read_mapping(form["text"]), _agent(visit.sight, form)
        trial = await asyncio.to_thread(_tried, mapping, spec, form)
    except OperatorFault as fault:
        return _page(request, desk, visit, form, error=str(fault))
    return _page(request, desk, visit, form, trial=trial)


@post("/mappings/replay")
async def replay(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """What it makes of what a device sent before, beside what was made of it then."""
    form = await _typed(request)
    device = form["device"]
    visit.sight.device(device)
    sent = again.SENT.format(device=device, limit=READ_AGAIN)
    try:
        mapper = Mapper("trial", 0, read_mapping(form["text"]))
        found = (await desk.ask(visit.sight, sent, "json")).splitlines()
        lines = await asyncio.to_thread(list, again.read_again(mapper, again.sent_in(found)))
        if not lines:
            asked = await desk.ask(visit.sight, again.REFUSED.format(device=device), "json")
            raise OperatorFault(again.nothing_of(device, asked.splitlines()[0]))
    except (OperatorFault, LogUnavailable) as fault:
        return _page(request, desk, visit, form, error=str(fault))
    return _page(request, desk, visit, form, lines=lines, fields=mapper.fields)


@post("/mappings")
async def add(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Response[Any]:
    """Have an agent's devices be read by it: a new one, or the next version."""
    form = await _typed(request)
    name, agent = form["name"], form["agent"]

    def allowed() -> None:
        visit.sight.agent(agent)
        there = desk.hub.registry.mappings.get(MappingName(name))
        if there is not None and not visit.sight.may(there.agent):
            raise OperatorFault(f"mapping {name!r} is somebody else's; choose another name")

    try:
        if not agent:
            raise OperatorFault("choose the agent whose devices send so")
        mapping = read_mapping(form["text"])
        allowed()
        made = await desk.act(visit, AddMapping(name, agent, mapping), allowed)
    except OperatorFault as fault:
        return _page(request, desk, visit, form, error=str(fault))
    said = f"Mapping {name}, version {made['version']}: devices of agent {agent} are read by it."
    return back(visit, "/mappings", said)


@post("/mappings/{name:str}/remove")
async def remove(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Redirect:
    """Read nothing by it any more."""
    visit.sight.mapping(name)
    try:
        await desk.act(visit, RemoveMapping(name), lambda: visit.sight.mapping(name))
    except OperatorFault as fault:
        return refused(visit, "/mappings", fault)
    return back(visit, "/mappings", f"Mapping {name} is removed; the log keeps what it read.")


def _page(
    request: Request[Any, Any, Any],
    desk: Desk,
    visit: Visit,
    form: Form,
    *,
    error: str | None = None,
    trial: Trial | None = None,
    lines: list[dict[str, Any]] | None = None,
    fields: list[str] | None = None,
) -> Template:
    """The form, and below it what came of it."""
    return desk.page(
        request,
        "mapping.html",
        HTTPStatus.OK if error is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        form=form,
        agents=[spec.agent.name for spec in visit.sight.agents()],
        devices=list(visit.sight.devices()),
        error=error,
        trial=trial,
        lines=lines,
        fields=fields,
        most=READ_AGAIN,
    )


async def _typed(request: Request[Any, Any, Any]) -> Form:
    """The fields; a browser ends their lines as Windows does, which no device meant."""
    form = await request.form()
    sent = {name: str(form.get(name, "")).replace("\r\n", "\n") for name in EMPTY}
    return sent | {name: sent[name].strip() for name in ("agent", "device", "name", "reward")}


def _agent(sight: Sight, form: Form) -> Spec | None:
    return sight.agent(form["agent"]) if form["agent"] else None


def _tried(mapping: Mapping, spec: Spec | None, form: Form) -> Trial:
    """Away from the hub's loop: a path of JMESPath may take its time over a long payload."""
    return try_out(
        mapping,
        _bytes(form["payload"], form),
        before=_bytes(form["before"], form) if form["before"] else None,
        spec=spec,
        reward=form["reward"] or None,
    )


def _bytes(text: str, form: Form) -> bytes:
    """Of a field, written as text or as hexadecimal digits.

    Raises:
        OperatorFault: it is too long, or no hexadecimal.
    """
    if len(text) > TEXT_MAX:
        raise OperatorFault(f"a payload of over {TEXT_MAX} characters is not tried here")
    if form["written"] != "hex":
        return text.encode(errors="replace")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise OperatorFault(f"the payload is not hexadecimal: {error}") from error


ROUTES: Final = (mappings_page, blank, try_it, replay, add, remove)
