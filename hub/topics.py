"""The topic tree below the base (`rl/v1` unless set), built and parsed in one place.

    <base>/<device>/{hello obs obs/mp obs/f32 reward status}    device publishes
    <base>/<device>/{cfg act act/mp act/f32 err state}          hub publishes
    <base>/<device>/cmd/{learn reset override}                  operator publishes
    <base>/<device>/{claim key}                                 device with a claim token, and hub
    <base>/hub/status                                           hub's will, retained
    <base>/hub/alert/<rule>                                     hub, while it is open
    <base>/agents/<agent>/alert/<rule>[/<device>]               hub, while it is open

Those with a device are for it alone, `hub/status` is for all, alerts are for people. Hubs speak to
each other at a broker of theirs or at one hub's, where no device reaches what is below `agents`:

    <base>/agents/<agent>/{policy advice}/<hub>                 that hub, retained
    <base>/agents/<agent>/adviser/<hub>                         that hub or program, retained
    <base>/agents/<agent>/{want ask}/<hub>                      another hub, to that one
    <base>/agents/<agent>/answer/<hub>                          whichever was asked, to that one
    <base>/agents/<agent>/part/<sha256>/<number>                whichever hub was asked

Home Assistant looks for devices below a prefix of its own, `homeassistant`:

    <prefix>/device/sheepfold_<owner>/<base and device>/config  hub publishes, retained
    <prefix>/status                                             Home Assistant publishes
"""

from __future__ import annotations

import re
from typing import Final

DEVICE_PUBLISHES: Final = ("hello", "obs", "obs/mp", "obs/f32", "reward", "status")
CLAIM: Final = "claim"
"""What a device publishes that has a claim token and no key yet; with a key it may not."""
KEY: Final = "key"
HUB_PUBLISHES: Final = ("cfg", "act", "act/mp", "act/f32", "err", "state", KEY)
OPERATOR_PUBLISHES: Final = ("cmd/learn", "cmd/reset", "cmd/override")
DEVICE_HEARS: Final = (*HUB_PUBLISHES, *OPERATOR_PUBLISHES, "status")
"""What reaches the device itself, if it subscribes; observations go to the hub and no further."""
PEOPLE_HEAR: Final = ("status", "state", *OPERATOR_PUBLISHES)
"""What reaches a person's client, of the devices of the person's agents."""
ALERTS: Final = (
    "hub/alert/<rule>",
    "agents/<agent>/alert/<rule>",
    "agents/<agent>/alert/<rule>/<device>",
)
"""Of the hub itself, of an agent, of one of its devices."""
FEDERATION: Final = (
    "policy/<hub>",
    "advice/<hub>",
    "want/<hub>",
    "part/<sha256>/<number>",
    "adviser/<hub>",
    "ask/<hub>",
    "answer/<hub>",
)
"""Below `<base>/agents/<agent>`."""
HUB_PUBLISHES_THERE: Final = (
    "policy/<own>",
    "advice/<own>",
    "adviser/<own>",
    "want/+",
    "ask/+",
    "answer/+",
    "part/+/+",
)
HUB_HEARS_THERE: Final = (
    "policy/+",
    "advice/+",
    "adviser/+",
    "want/<own>",
    "ask/<own>",
    "answer/<own>",
    "part/+/+",
)
"""What a hub may, `<own>` its own name; `deploy/hubs/acl` says the same to mosquitto."""
HOME_ASSISTANT: Final = "homeassistant"
"""Its prefix, unless it was told another."""
ENCODINGS: Final = {"obs": "json", "obs/mp": "mp", "obs/f32": "f32"}

HUB_NAME: Final = re.compile(r"[a-z0-9_-]{1,40}")
_DEVICE_ID: Final = re.compile(r"[a-z0-9_-]{1,23}")
_RESERVED: Final = {"hub", "agents"}
_NO_WORD: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_DISCOVERY: Final = re.compile(r"device/sheepfold_([a-z0-9_-]{1,40})/[a-zA-Z0-9_-]+/config")


def is_device_id(text: str, *, reserved: bool = False) -> bool:
    """Whether a device may be called this; `reserved` admits the hub's own `http-<n>`."""
    if not _DEVICE_ID.fullmatch(text) or text in _RESERVED:
        return False
    return reserved or not text.startswith("http-")


def device_topic(base: str, device: str, leaf: str) -> str:
    """`rl/v1/heater-1/act`."""
    return f"{base}/{device}/{leaf}"


def hub_status(base: str) -> str:
    """Where the hub's own `online` and `offline` are retained."""
    return f"{base}/hub/status"


def alert_topic(base: str, rule: str, agent: str = "", device: str = "") -> str:
    """`rl/v1/agents/heating/alert/silent/heater-1`; without an agent `rl/v1/hub/alert/disk`."""
    if not agent:
        return f"{base}/hub/alert/{rule}"
    return agent_topic(base, agent, "alert", rule, *([device] if device else []))


def alert_agent(base: str, topic: str) -> str | None:
    """Whose alert is told there, "" = the hub's own; None for any other topic."""
    if not topic.startswith(base + "/"):
        return None
    match topic.removeprefix(base + "/").split("/"):
        case ["hub", "alert", _]:
            return ""
        case ["agents", agent, "alert", _] | ["agents", agent, "alert", _, _]:
            return agent
        case _:
            return None


def device_leaf(base: str, topic: str) -> tuple[str, str] | None:
    """The device id and what stands below it: `("heater-1", "cmd/learn")`; None for any other."""
    device, slash, leaf = topic.removeprefix(base + "/").partition("/")
    if not topic.startswith(base + "/") or not slash or not is_device_id(device, reserved=True):
        return None
    return device, leaf


def agent_topic(base: str, agent: str, *levels: str) -> str:
    """`rl/v1/agents/heating/policy/site-b`."""
    return "/".join((base, "agents", agent, *levels))


def agent_levels(base: str, topic: str) -> tuple[str, list[str]] | None:
    """The agent and the levels below it; None for a topic that is not below `agents`."""
    prefix = f"{base}/agents/"
    agent, _, rest = topic.removeprefix(prefix).partition("/")
    return (agent, rest.split("/")) if topic.startswith(prefix) and rest else None


def discovery_id(base: str, device: str) -> str:
    """What Home Assistant knows a device by, for as long as its topics are the same."""
    return f"{_NO_WORD.sub('-', base)}_{device}"


def discovery_topic(prefix: str, owner: str, base: str, device: str) -> str:
    """Where a device is announced; its agent's owner stands in it, for who may hear it."""
    return f"{prefix}/device/sheepfold_{owner}/{discovery_id(base, device)}/config"


def discovery_owner(prefix: str, topic: str) -> str | None:
    """Whose device is announced there; None for a topic that is for no announcement."""
    found = _DISCOVERY.fullmatch(topic.removeprefix(f"{prefix}/"))
    return found[1] if found is not None and topic.startswith(f"{prefix}/") else None


def birth(prefix: str) -> str:
    """Where Home Assistant says `online` when it has started."""
    return f"{prefix}/status"


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter takes in a topic (MQTT 3.1.1, 4.7)."""
    if "+" not in topic_filter and "#" not in topic_filter:
        return topic_filter == topic
    wanted, given = topic_filter.split("/"), topic.split("/")
    if given[0].startswith("$") and wanted[0] in ("+", "#"):
        return False  # 4.7.2: leading wildcards don't match $ topics
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(given) or level not in ("+", given[i]):
            return False
    return len(wanted) == len(given)
