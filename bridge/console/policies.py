"""*Policies* of an agent: its versions, out as files, and back in place."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from litestar import Request, get, post
from litestar.datastructures import UploadFile
from litestar.exceptions import NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import FromPath
from litestar.response import Redirect, Response, Template

from bridge.console.desk import ROOT, AtDesk, ByVisit, Desk, Visit, back, desk_of, refused
from hub.control import ChoosePolicy
from hub.errors import LogUnavailable, OperatorFault
from hub.facts import CheckpointsDeleted
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.exchange.chores import Export, Prune, carry_out
from hub.learner.exchange.importing import Job, import_meanwhile
from hub.learner.messages import policy_path
from hub.registry.acts import Chosen

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hub.registry.fold import Registry, Spec
    from hub.words import AgentName

VERSIONS_SHOWN: Final = 100
FILE_NAME_SHOWN: Final = 80
FORM_BYTES: Final = 65_536
"""Of a form with a file in it, beside the file."""
PRUNE_S_MAX: Final = 20.0
"""Below `ACT_S_MAX`: acts wait for it."""
VERSIONS: Final = """
SELECT policies.version, policies.created, policies.sha256, policies.parent,
    (updates.payload ->> 'transitions')::BIGINT AS transitions,
    (updates.payload ->> 'gradient_steps')::BIGINT AS gradient_steps
FROM policies
LEFT JOIN events AS updates
    ON updates.kind = 'update' AND updates.agent = policies.agent
    AND updates.policy = policies.version
WHERE policies.agent = '{agent}' {where}
ORDER BY policies.version DESC LIMIT {limit}
"""
HOW: Final = {
    "imported": "imported",
    "promoted": "promoted",
    "rolled_back": "rolled back",
    "trained_again": "trained again",
}
FORMS: Final = {"zip": "application/zip", "safetensors": "application/octet-stream"}


@get("/agents/{name:str}/policies")
async def policies_page(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Template:
    """The newest versions, the one that acts among them."""
    spec = visit.sight.agent(name)
    sql = VERSIONS.format(agent=name, where="", limit=VERSIONS_SHOWN)
    try:
        found: list[dict[str, Any]] | None = await desk.rows(visit.sight, sql)
    except LogUnavailable:
        found = None
    acting = desk.hub.registry.policies.get(spec.agent.name)
    return desk.page(
        request,
        "policies.html",
        agent=spec.agent,
        acts=None if acting is None else acting.version,
        rows=None if found is None else [_shown(desk, spec, row) for row in found],
        has_zip=spec.agent.algorithm in ALGORITHMS,
        shown=VERSIONS_SHOWN,
        mb_max=desk.settings.upload_mb_max,
    )


def _shown(desk: Desk, spec: Spec, row: dict[str, Any]) -> dict[str, Any]:
    chosen = desk.hub.registry.chosen.get(spec.agent.name, {}).get(row["version"])
    path = policy_path(desk.hub.data, spec.agent.name, row["sha256"])
    how = "trained" if chosen is None else f"{HOW[chosen.how]} by {chosen.by}"
    return row | {"how": how, "there": path.exists()}


@post("/agents/{name:str}/policies/{version:int}/{how:str}")
async def choose(
    request: Request[Any, Any, Any],
    desk: AtDesk,
    visit: ByVisit,
    name: FromPath[str],
    version: FromPath[int],
    how: FromPath[str],
) -> Redirect:
    """Let a version act again, under a new number: `promote`, or `rollback` to an older one."""
    visit.sight.agent(name)
    if how not in ("promote", "rollback"):
        raise NotFoundException("There is no such button.")
    row = await _version(desk, visit, name, version)
    done: Literal["promoted", "rolled_back"] = "promoted" if how == "promote" else "rolled_back"
    page = f"/agents/{name}/policies"
    try:
        act = ChoosePolicy(name, Chosen(row["sha256"], done, version))
        made = await desk.act(visit, act, lambda: visit.sight.agent(name))
    except OperatorFault as fault:
        return refused(visit, page, fault)
    return back(visit, page, f"Version {version} acts again, as version {made['version']}.")


@get("/agents/{name:str}/policies/{version:int}/{form:str}")
async def download(
    desk: AtDesk, visit: ByVisit, name: FromPath[str], version: FromPath[int], form: FromPath[str]
) -> Response[bytes] | Redirect:
    """A version as a file: `zip` for Stable-Baselines3, or `safetensors` as it is kept here."""
    spec = visit.sight.agent(name)
    if form not in FORMS:
        raise NotFoundException("There is no such file.")
    row = await _version(desk, visit, name, version)
    source = policy_path(desk.hub.data, spec.agent.name, row["sha256"])
    if not source.exists():
        raise OperatorFault(f"the file of version {version} is gone; newer ones are there")
    with tempfile.TemporaryDirectory(prefix="sheepfold-") as folder:
        target = Path(folder) / f"{name}-v{version}.{form}"
        async with desk.chore():
            await carry_out(Export(str(source), spec.agent, str(target)))
        body = await asyncio.to_thread(target.read_bytes)
    return Response(
        body,
        media_type=FORMS[form],
        headers={"content-disposition": f'attachment; filename="{target.name}"'},
    )


def _too_large(request: Request[Any, Any, Any], _: RequestEntityTooLarge) -> Redirect:
    """Said on the page that the file was chosen on; of the file no more than that was read."""
    desk = desk_of(request)
    page = request.url.path.removeprefix(ROOT).removesuffix("/import")
    text = (
        f"the file has over {desk.settings.upload_mb_max} MB, the most that a browser may send; "
        "'sheepfold policy import' takes larger ones"
    )
    return refused(request.user, page, OperatorFault(text))


@post("/agents/{name:str}/policies/import", exception_handlers={RequestEntityTooLarge: _too_large})
async def upload(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> Redirect:
    """Let a policy from a file act, vetted as `sheepfold policy import` does."""
    visit.sight.agent(name)
    page = f"/agents/{name}/policies"
    file = (await request.form()).get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        return refused(visit, page, OperatorFault("choose a file: a .zip or .safetensors"))
    with tempfile.TemporaryDirectory(prefix="sheepfold-") as folder:
        path = Path(folder) / "policy"
        try:
            await asyncio.to_thread(_write, file, path)
            made = await _imported(desk, visit, name, path)
        except OperatorFault as fault:
            said = str(fault).replace(str(path), f"{file.filename[:FILE_NAME_SHOWN]!r}")
            return refused(visit, page, OperatorFault(said))
    return back(visit, page, f"The file's policy acts, as version {made['version']}.")


def _write(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)


async def _imported(desk: Desk, visit: Visit, name: str, path: Path) -> dict[str, Any]:
    """Have the file be the agent's next version; what was said of it.

    Raises:
        OperatorFault: it is no policy, or none for this agent.
        LogUnavailable: too many are waiting, or the log is not to be had.
    """
    async with desk.chore():
        agent = visit.sight.agent(name).agent
        bytes_max = desk.hub.settings.learner.import_mb_max << 20
        made = await import_meanwhile(Job(agent, str(path), str(desk.hub.data), bytes_max))
        act = ChoosePolicy(name, Chosen(made.sha256, "imported"))
        chosen: dict[str, Any] = await desk.act(visit, act, lambda: visit.sight.agent(name))
    return chosen


@post("/agents/{name:str}/policies/delete-older")
async def delete_older(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Redirect:
    """Remove the files of versions that neither act nor are needed to go on."""
    spec = visit.sight.agent(name)
    removed = await pruned(desk, visit, spec.agent.name)
    await desk.note(CheckpointsDeleted(removed, visit.sight.name), spec.agent.name)
    page = f"/agents/{name}/policies"
    return back(visit, page, f"Files removed: {removed}. The log still knows those versions.")


async def pruned(desk: Desk, visit: Visit, name: AgentName) -> int:
    """Remove them while nobody can choose a version; how many.

    Raises:
        OperatorFault: it was refused, or took too long.
        LogUnavailable: too many are waiting.
    """
    removed = []

    async def prune(pinned: list[str]) -> None:
        removed.append(await carry_out(Prune(str(desk.hub.data), name, pinned), PRUNE_S_MAX))

    def decide() -> tuple[Coroutine[None, None, None], None]:
        visit.sight.agent(name)
        return prune(sorted(_needed(desk.hub.registry, name))), None

    async with desk.chore():
        await desk.hub.control.turn.take(decide)
    return removed[0]


def _needed(registry: Registry, name: AgentName) -> set[str]:
    """Files of versions that act, that the trainer goes on from, or that people chose."""
    needed = {one.sha256 for one in registry.chosen.get(name, {}).values()}
    if name in registry.policies:
        needed.add(registry.policies[name].made.sha256)
    if name in registry.trained:
        needed.add(registry.trained[name].sha256)
    return needed


async def _version(desk: Desk, visit: Visit, name: str, version: int) -> dict[str, Any]:
    """A version that the log knows.

    Raises:
        NotFoundException: there is none of this number.
        LogUnavailable: not now.
    """
    where = f"AND policies.version = {version}"
    rows = await desk.rows(visit.sight, VERSIONS.format(agent=name, where=where, limit=1))
    if not rows:
        raise NotFoundException(f"Agent {name} has no version {version}.")
    return rows[0]


ROUTES: Final = (policies_page, choose, download, delete_older)
WITH_FILES: Final = (upload,)
