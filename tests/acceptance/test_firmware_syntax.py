"""Examples that nothing here can run: their syntax, and what the hub makes of what they send."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from hub.intake.mapping.command import compile_command
from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.read import read_mapping
from hub.spaces import parse
from tests.acceptance.boards import EXAMPLES
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from tests.acceptance.boards import Workbench

pytestmark = pytest.mark.acceptance

# Tasmota's rules, as https://tasmota.github.io/docs/Rules/ has them under "Rule Syntax". A set is
# its name and rules, put into one line; a name stands for a level, `?` for any.
RULE: Final = re.compile(
    r"ON (?:Tele-)?(?:\w+|\?)(?:#(?:\w+(?:\[\d+\])?|\?))+(?:(?:==|!=|>=|<=|[=<>|])\S+)?"
    r" DO (?P<command>.+?) (?:ENDON|BREAK)(?: |$)",
    re.IGNORECASE,
)
COMMAND: Final = re.compile(r"[A-Za-z]+\d{0,2}(?: \S.*)?")
VARIABLE: Final = re.compile(
    r"%(?:value|time|timestamp|uptime|sunrise|sunset|utctime|topic|(?:var|mem)(?:[1-9]|1[0-6]))%",
    re.IGNORECASE,
)
SET_CHARACTERS_MAX: Final = 1000
"""That surely fit into a rule set."""
PLUG: Final = (EXAMPLES / "tasmota/plug.rules").read_text()
SECRETS: Final = """
wifi_ssid: home
wifi_password: a long password
sheepfold_hub: 192.168.1.10
sheepfold_key: k3vq7x2a.THE-KEY
"""


def rules_of(text: str) -> dict[str, list[str]]:
    """The commands of each set.

    Raises:
        AssertionError: it is none that Tasmota would take.
    """
    sets: dict[str, list[str]] = {}
    for found in re.split(r"^(?=Rule)", text, flags=re.MULTILINE)[1:]:
        name, _, rules = " ".join(found.split()).partition(" ")
        assert name in {"Rule1", "Rule2", "Rule3"}, name
        assert name not in sets, name
        assert len(rules) <= SET_CHARACTERS_MAX, name
        sets[name] = []
        at = 0
        while at < len(rules):
            rule = RULE.match(rules, at)
            assert rule is not None, rules[at:]
            sets[name] += commands_of(rule["command"])
            at = rule.end()
    return sets


def commands_of(text: str) -> list[str]:
    """One command, or those of a Backlog."""
    word, _, rest = text.partition(" ")
    commands = [one.strip() for one in rest.split(";")] if word.lower() == "backlog" else [text]
    for command in commands:
        assert COMMAND.fullmatch(command), command
        assert " DO " not in command.upper(), command
        assert "%" not in VARIABLE.sub("", command), command
    return commands


def test_the_rules_of_a_plug_are_tasmotas() -> None:
    assert set(rules_of(PLUG)) == {"Rule1", "Rule2", "Rule3"}


@pytest.mark.parametrize(
    "wrong",
    [
        "Rule4\n  ON Power1#State DO Var1 1 ENDON",
        "Rule1\n  ON Power1 DO Var1 1 ENDON",
        "Rule1\n  ON Power1#State Var1 1 ENDON",
        "Rule1\n  ON Power1#State DO Var1 1",
        "Rule1\n  ON Power1#State DO Var1 %var17% ENDON",
        "Rule1\n  ON Power1#State>1 = 2 DO Var1 1 ENDON",
        "Rule1\n  ON Power1#State DO Backlog Var1 1; ; Var2 1 ENDON",
        "Rule1\n  ON Power1#State DO Var1 1 ON Power1#State DO Var1 1 ENDON",
        "Rule1\n" + "  ON Power1#State DO Var1 1 ENDON\n" * 40,
    ],
)
def test_rules_that_tasmota_would_not_take_are_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        rules_of(wrong)


def test_what_the_rules_publish_is_what_the_mapping_reads() -> None:
    published = [
        command.split(" ", 2)[1:]
        for command in rules_of(PLUG)["Rule1"]
        if command.startswith("Publish ")
    ]
    ((topic, payload),) = published
    mapping = read_mapping((EXAMPLES / "tasmota/greenhouse.toml").read_text())
    assert [topic] == [one.replace("{device}", "greenhouse") for one in mapping.topics]
    mapper = Mapper("greenhouse", 1, mapping)
    for heat, seen in (("1", 1.0), ("0", 0.0), ("", 0.0)):
        sent = payload.replace("%value%", "18.5").replace("%var1%", heat)
        mapped = mapper.read(sent.encode(), None)
        assert mapped is not None
        assert mapped.numbers == (18.5, seen)
    assert mapping.action is not None
    assert compile_command(mapping.action, parse(2))(1) == b"ON"


def test_the_structured_text_of_a_plc_parses(workbench: Workbench) -> None:
    if importlib.util.find_spec("blark") is None:
        workbench.missing("blark", "blark (pip)")
    source = EXAMPLES / "plc/tank.st"
    blark = (sys.executable, "-m", "blark", "parse")
    workbench.run(*blark, source)
    broken = workbench.folder / "broken.st"
    broken.write_text(source.read_text().replace("END_IF", "", 1))
    failed = subprocess.run([*blark, broken], capture_output=True, check=False)
    assert failed.returncode != 0


@pytest.mark.slow  # esphome is 170 MB; `make firmware` runs it
def test_esphome_takes_the_room(workbench: Workbench) -> None:
    own = ROOT / "build/esphome/bin/esphome"
    esphome = str(own) if own.exists() else workbench.tool("esphome", "esphome (make firmware)")
    shutil.copy(EXAMPLES / "esphome/room.yaml", workbench.folder)
    (workbench.folder / "secrets.yaml").write_text(SECRETS)
    workbench.run(esphome, "config", "room.yaml")
    room = workbench.folder / "room.yaml"
    room.write_text(room.read_text().replace("topic_prefix", "topic_prefxi"))
    with pytest.raises(AssertionError, match="topic_prefxi"):
        workbench.run(esphome, "config", "room.yaml")
