"""Every block of the documents is run, against one real hub, in the order in which it is read."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import jsonschema
import msgspec
import numpy as np
import pytest

from hub import control, schemas
from hub.intake.mapping.read import read_mapping
from hub.registry import key_acts
from hub.registry.acts import NewAgent
from hub.registry.claim_acts import CreateClaim
from hub.settings import Settings
from tests.acceptance.carts import Carts
from tests.acceptance.devices import Http
from tests.acceptance.people import add_user
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.architecture.tree import ROOT
from tests.snippets.blocks import NOT_RUN, RUN_BY, blocks
from tests.snippets.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.snippets.blocks import Block

pytestmark = pytest.mark.acceptance

DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN_MAX: Final = 8
"""Those that need root, a container engine, another broker; more would be an excuse."""
PATIENT_MS: Final = 20_000
"""So that the policy answers and no fallback, however slow the machine is at its first step."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """With a hub that all documents share."""
    folder = tmp_path_factory.mktemp("snippets")
    hub = RealHub(folder / "hub")
    hub.start()
    add_user(hub, "grace", "admin")
    yield Desk(folder, hub)
    hub.end()


# --- what a reader has before the first line ------------------------------------------------


def steps(desk: Desk, key: str, device: str) -> None:
    """A few, so that there is something in the log."""
    with Http(desk.hub.ready.http) as http:
        for step in range(3):
            assert http.step(key, {"device": device, "s": step, "o": [20, 40]})[0] == 200


def analyst(desk: Desk) -> None:
    steps(desk, desk.hub.make_agent("climate", observations=[[2], -100, 100]), "heater-9")
    desk.hub.ask(control.SealNow())
    desk.key = desk.hub.ask(key_acts.CreateUserKey("grace"))["api_key"]


def legacy(desk: Desk) -> None:
    desk.hub.ask(
        control.CreateAgent(
            NewAgent(
                name="plain", algorithm="PPO", observations=[[2], -100, 100], actions=2,
                deadline_ms=PATIENT_MS,
            )
        )
    )  # fmt: skip
    desk.key = desk.hub.ask_key("plain")
    desk.hub.make_agent("museum", observations=[[2], 0, 1])


def corrected(desk: Desk) -> None:
    mapping = (desk.folder / "boiler.toml").read_text()
    mapping = mapping.replace('unit = "kW"\nclip = [0, 10]', 'unit = "W"')
    (desk.folder / "corrected.toml").write_text(mapping)


def operator(desk: Desk) -> None:
    key = desk.hub.make_agent("heating-2", observations=[[1], -40, 80])
    # A reader has gathered more than forty steps by then, which is all that DQN is asked to want.
    few = "gamma=0.95 --set learning_starts=20"
    claim = desk.hub.ask(CreateClaim("heating-2"))["claim"]
    desk.words = {"ID": key.partition(".")[0], "CLAIM": claim, "gamma=0.95": few}


def safety(desk: Desk) -> None:
    steps(desk, desk.hub.make_agent("kiln", observations=[[2], -100, 100]), "kiln-1")
    first = "SELECT min(seq) FROM events WHERE kind = 'action'"
    desk.key = desk.hub.ask(key_acts.CreateUserKey("grace"))["api_key"]
    desk.words = {"4712": str(desk.hub.value(first))}


def watching(desk: Desk) -> None:
    if "root" not in {user["user"] for user in desk.hub.ask(control.Show("users"))}:
        add_user(desk.hub, "root", "admin")


def steps_of_heating(desk: Desk) -> None:
    """What `rebuild` is to make a policy of."""
    desk.hub.change("heating", status="active", learning=True)
    key = desk.hub.ask_key("heating")
    with Http(desk.hub.ready.http) as http:
        for step in range(40):
            http.step(key, {"device": "heater-5", "s": step, "o": [step % 9], "r": -1})
    newest = "SELECT max(version) FROM policies WHERE agent = 'heating'"
    until(lambda: desk.hub.value(newest) is not None, "a policy of heating")


BEFORE: Final[dict[str, Callable[[Desk], None]]] = {
    "analyst.md": analyst,
    "legacy.md": legacy,
    "operator.md": operator,
    "safety.md": safety,
    "watching.md": watching,
}
"""A document's own."""


# --- how each kind of block is run ----------------------------------------------------------


def run_sql(desk: Desk, block: Block) -> None:
    for statement in block.text.split(";\n"):  # one within a comment ends nothing
        if statement.strip():
            desk.hub.sql(statement)


def run_json(_: Desk, block: Block) -> None:
    """It is one of the payloads that devices and hub exchange."""
    document = json.loads(block.text)
    fits = [
        word
        for word, (struct, _) in schemas.WORDS.items()
        if set(document) <= set(getattr(struct, "__struct_encode_fields__", ()))
        and jsonschema.Draft202012Validator(json.loads(schemas.schema(word))).is_valid(document)
    ]
    assert fits, block.place


def run_toml(desk: Desk, block: Block) -> None:
    """Settings, a mapping, or lines of the file that the text names."""
    document = tomllib.loads(block.text)
    if set(document) <= set(Settings.__struct_fields__):
        msgspec.convert(document, Settings)
    elif "observations" in document:
        read_mapping(block.text)
        (desk.folder / block.file).write_text(block.text)
        corrected(desk)
    else:
        whole = tomllib.loads((ROOT / "deploy/mappings/tasmota.toml").read_text())
        assert document == {name: whole[name] for name in document}


def run_python(desk: Desk, block: Block) -> None:
    """It can be; and a device of an external agent is an environment, for its first steps."""
    made: dict[str, Any] = {}
    exec(compile(desk.placed(block.text), block.place, "exec"), made)
    if "Device" not in made:
        return
    observations, actions = (
        gymnasium.spaces.Box(-np.inf, np.inf, (4,)),
        gymnasium.spaces.Discrete(2),
    )
    with Carts(desk.hub, desk.key, "cart-1"):
        url = f"http://{HOST}:{desk.hub.ready.http}"
        environment = made["Device"](url, "cart-1", desk.key, observations, actions)
        seen, _ = environment.reset()
        assert len(seen) == 4
        seen, reward, *_ = environment.step(1)
        assert (len(seen), reward) == (4, 1.0)


RUN: Final[dict[str, Callable[[Desk, Block], None]]] = {
    "sh": lambda desk, block: desk.shell(block.text),
    "console": lambda desk, block: desk.shell(block.text),
    "sql": run_sql,
    "json": run_json,
    "toml": run_toml,
    "python": run_python,
    "py": run_python,
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_does_what_it_shows(
    document: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    desk.words = {}
    if before := BEFORE.get(document.name):
        before(desk)
    for block in blocks(document):
        if block.said:
            continue
        if "sheepfold rebuild" in block.text:
            steps_of_heating(desk)
        RUN[block.language](desk, block)


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    said = [block for document in DOCUMENTS for block in blocks(document) if block.said]
    reasons = [block.said for block in said if block.said.startswith(NOT_RUN)]
    elsewhere = [block.said for block in said if block.said.startswith(RUN_BY)]
    assert len(reasons) + len(elsewhere) == len(said)
    assert len(reasons) <= NOT_RUN_MAX
    assert all((ROOT / text.removeprefix(RUN_BY)).exists() for text in elsewhere)
