"""Every command once as it is meant, and once badly used: what it says then, and how it exits.

What commands do in detail is in `tests/test_command_line.py` and `tests/commands`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from hub import control
from hub.registry.claim_acts import CreateClaim
from tests.acceptance.devices import Http, bearer
from tests.acceptance.people import add_user
from tests.acceptance.real_hub import RealHub, until
from tests.architecture.tree import ROOT
from tests.commands.test_help import COMMANDS
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands.typed import Said

pytestmark = pytest.mark.acceptance

BOX: Final = "--observations '[[2],-5,5]' --actions 2"
QUICK: Final = {"publish_every": "8"}
MAPPING: Final = 'format = "form"\n[[observations]]\nname = "t"\npath = "t"\n'
PASSWORDS: Final = "correct horse\n" * 2
"""For those commands that ask for one, twice."""

GOOD: Final = {
    "status": "status",
    "top": "top --once --interval 0.1",
    "schemas": "schemas --check",
    "completion": "completion bash",
    "agent create": f"agent create made --algorithm PPO {BOX}",
    "agent list": "agent list",
    "agent show": "agent show walker",
    "agent update": "agent update walker --lag-max 5000",
    "agent clone": "agent clone walker walker-2\nagent show walker-2",
    "agent restart": "agent restart other",
    "agent pause": "agent pause other",
    "agent resume": "agent resume other",
    "agent delete": f"agent create short --algorithm PPO {BOX}\nagent delete short",
    "device add": "device add dev-a --agent walker",
    "device list": "device list",
    "device move": "device add dev-m --agent walker\ndevice move dev-m --agent other",
    "device forget": "device add dev-f --agent walker\ndevice forget dev-f",
    "key create": "key create walker --device dev-k",
    "key list": "key list",
    "key rotate": "key rotate {rotated} --overlap 1h",
    "key revoke": "key revoke {key}",
    "claim create": "claim create walker --uses 3",
    "claim list": "claim list",
    "claim revoke": "claim revoke {claim}",
    "user add": "user add ann --role owner",
    "user list": "user list",
    "user passwd": "user passwd grace",
    "user remove": "user add gone --role owner\nuser remove gone",
    "mapping try": "mapping try {folder}/m.toml t=3",
    "mapping add": "mapping add added {folder}/m.toml --agent mapped",
    "mapping list": "mapping list",
    "mapping show": "mapping add seen {folder}/m.toml --agent mapped\nmapping show seen",
    "mapping replay": "mapping replay {folder}/m.toml dev-9",
    "mapping remove": "mapping add off {folder}/m.toml --agent mapped\nmapping remove off",
    "policy list": "policy list walker",
    "policy export": "policy export walker --to {folder}/w.safetensors",
    "policy import": "policy export walker --to {folder}/i.safetensors\n"
    "policy import walker {folder}/i.safetensors",
    "policy promote": "policy promote walker 0",
    "policy rollback": "policy rollback walker",
    "rebuild": "rebuild walker",
    "sql": "sql 'SELECT count(*) AS n FROM events' --json",
    "seal": "seal",
    "backup": "backup {folder}/copy",
    "restore": "backup {folder}/again\nrestore {folder}/again --data {folder}/new",
    "verify": "verify",
    "export": "export --parquet {folder}/export",
    "doctor": "doctor --json",
    "tls init": "tls init {folder}/init --json",
    "tls hub": "tls init {folder}/tls\ntls hub {folder}/tls",
    "tls device": "tls init {folder}/dev\ntls device {folder}/dev heater-1",
}
ELSEWHERE: Final = {
    "serve": "every hub of a test",
    "demo": "tests/demo/test_demo.py",
    "simulate": "tests/simulate",
    "move": "tests/acceptance/test_move.py",
}
"""Where it is run as it is meant."""


class Bad(NamedTuple):
    """A bad use."""

    line: str
    code: int
    says: str
    """On stderr."""


BAD: Final = {
    "serve": Bad("serve --data {data}", 1, "another hub runs"),
    "demo": Bad("demo --data {folder}/demo", 1, ""),
    "status": Bad("status --data {folder}/nowhere", 1, "no hub answers"),
    "top": Bad("top --interval 0", 2, "0.1<=x<=3600"),
    "move": Bad("move", 2, "Missing argument"),
    "simulate": Bad("simulate --devices 0", 2, "1<=x<=10000"),
    "schemas": Bad("schemas --check-all", 2, "No such option"),
    "completion": Bad("completion csh", 2, "is not one of"),
    "agent create": Bad("agent create x --algorithm XYZ --observations 2 --actions 2", 1, "'XYZ'"),
    "agent list": Bad("agent list --data {folder}/nowhere", 1, "no hub answers"),
    "agent show": Bad("agent show nobody", 1, "nobody"),
    "agent update": Bad("agent update walker --lag-max some", 2, "a whole number or none"),
    "agent clone": Bad("agent clone walker other", 1, "exists"),
    "agent restart": Bad("agent restart nobody", 1, "nobody"),
    "agent pause": Bad("agent pause nobody", 1, "nobody"),
    "agent resume": Bad("agent resume nobody", 1, "nobody"),
    "agent delete": Bad("agent delete nobody", 1, "nobody"),
    "device add": Bad("device add Heater --agent walker", 1, "Heater"),
    "device list": Bad("device list walker", 2, "unexpected extra argument"),
    "device move": Bad("device move nope --agent walker", 1, "no device 'nope' to move"),
    "device forget": Bad("device forget never-seen", 1, "never-seen"),
    "key create": Bad("key create walker --user grace", 2, "write AGENT"),
    "key list": Bad("key list --data {folder}/nowhere", 1, "no hub answers"),
    "key rotate": Bad("key rotate nothing", 1, "nothing"),
    "key revoke": Bad("key revoke nothing", 1, "nothing"),
    "claim create": Bad("claim create walker --uses 0", 1, "1 to 100000 devices"),
    "claim list": Bad("claim list --data {folder}/nowhere", 1, "no hub answers"),
    "claim revoke": Bad("claim revoke nothing", 1, "nothing"),
    "user add": Bad("user add Ann --role owner --password-stdin", 1, "Ann"),
    "user list": Bad("user list grace", 2, "unexpected extra argument"),
    "user passwd": Bad("user passwd nobody", 1, "nobody"),
    "user remove": Bad("user remove nobody", 1, "nobody"),
    "mapping try": Bad("mapping try {folder}/m.toml t=warm", 1, "refused"),
    "mapping add": Bad("mapping add bad {folder}/wrong.toml --agent mapped", 1, "wrong"),
    "mapping list": Bad("mapping list --data {folder}/nowhere", 1, "no hub answers"),
    "mapping show": Bad("mapping show nothing", 1, "nothing"),
    "mapping replay": Bad("mapping replay {folder}/m.toml 'x y'", 1, "no device id"),
    "mapping remove": Bad("mapping remove nothing", 1, "nothing"),
    "policy list": Bad("policy list nobody", 1, "nobody"),
    "policy export": Bad("policy export walker --version 999 --to {folder}/9.zip", 1, "999"),
    "policy import": Bad("policy import nobody {folder}/m.toml", 1, "nobody"),
    "policy promote": Bad("policy promote walker 999", 1, "999"),
    "policy rollback": Bad("policy rollback walker --to 999", 1, "999"),
    "rebuild": Bad("rebuild walker --algorithm DQN", 2, "--as"),
    "sql": Bad("sql 'DROP VIEW events'", 1, "SELECT"),
    "seal": Bad("seal --data {folder}/nowhere", 1, "no hub answers"),
    "backup": Bad("backup {data}", 1, "choose another folder"),
    "restore": Bad("restore {folder}/nowhere --data {folder}/fresh", 1, "no backup"),
    "verify": Bad("verify --data {folder}/nowhere", 1, "no data folder"),
    "export": Bad("export --parquet {data}", 1, "not an empty folder"),
    "doctor": Bad("doctor --config {folder}/wrong.toml", 1, "wrong.toml"),
    "tls init": Bad(f"tls init {{folder}}/bad --name {'a' * 70}", 1, "neither a host's name"),
    "tls hub": Bad("tls hub {folder}/nowhere", 1, "sheepfold tls init"),
    "tls device": Bad("tls device {folder}/nowhere Heater", 1, "must match"),
}


class World:
    """A hub with an agent that has learnt a little, and what else commands act on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = RealHub(folder / "data")
        (folder / "m.toml").write_text(MAPPING)
        (folder / "wrong.toml").write_text("wrong = true\n")
        (folder / "demo/devices").mkdir(parents=True)

    def fill(self) -> None:
        """Two versions of a policy, a user, a key to lose."""
        hub = self.hub
        box = [[2], -5, 5]
        hub.make_agent("other", observations=box)
        hub.make_agent("mapped", observations=[[1], -5, 5])
        add_user(hub, "grace", "admin")
        key = hub.make_agent("walker", algorithm="tabular", observations=box, parameters=QUICK)
        self.key, self.rotated = (hub.ask_key("walker").partition(".")[0] for _ in range(2))
        self.claim = hub.ask(CreateClaim("walker"))["claim"]
        versions = "SELECT count(*) FROM policies WHERE agent = 'walker'"
        with Http(hub.ready.http) as http:
            step = iter(range(10_000))

            def learnt() -> bool:
                for _ in range(8):
                    http.step(key, {"device": "dev-1", "s": next(step), "o": [1, 2], "r": 1})
                return bool(hub.value(versions) > 2)

            until(learnt, "two policies after the first", timeout_s=60)
            sender = hub.ask_key("mapped")
            assert self.run("mapping add posted {folder}/m.toml --agent mapped").code == 0
            path = "/v1/map/posted?device=dev-9"
            assert http.ask("POST", path, b"t=3", bearer(sender))[0] == 200
        hub.ask(control.SealNow())

    def run(self, line: str) -> Said:
        """One command."""
        words = line.format(
            folder=self.folder,
            data=self.hub.data,
            key=self.key,
            rotated=self.rotated,
            claim=self.claim,
        )
        return typed(self.hub.data, *shlex.split(words), stdin=PASSWORDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For all commands of this file."""
    world = World(tmp_path_factory.mktemp("commands"))
    world.hub.start()
    world.fill()
    yield world
    world.hub.end()


def test_each_command_is_here() -> None:
    assert set(GOOD) | set(ELSEWHERE) == set(BAD) == set(COMMANDS)


@pytest.mark.parametrize("words", GOOD)
def test_a_good_use(words: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert any(line.startswith(words) for line in GOOD[words].splitlines())
    for line in GOOD[words].splitlines():
        said = world.run(line)
        found = words == "doctor" and said.code == 1  # it may find something of the machine
        assert said.code == 0 or found, f"{line}\n{said.out}{said.err}"
        assert "Traceback" not in said.err


@pytest.mark.parametrize("words", BAD)
def test_a_bad_use(words: str, world: World) -> None:
    line, code, says = BAD[words]
    said = world.run(line)
    assert said.code == code, f"{said.out}{said.err}"
    assert says in " ".join(said.err.split())
