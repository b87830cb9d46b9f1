"""AsyncAPI 3.0 of all that goes over MQTT: `schemas/asyncapi.yaml`, for generators and documents.

    document(schemas, base="rl/v1")   # schemas: JSON Schema of each word, by name

The hub is the application, so it *receives* what devices and people publish and *sends* what they
hear. Topics are those of `hub.topics`: one that is not described here fails the generation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from hub import topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

VERSION: Final = "1"
"""Of the protocol: the `v1` of its topics."""
JSON: Final = "application/json"
TEXT: Final = "text/plain"
BINDING_VERSION: Final = "0.2.0"
"""Of AsyncAPI's words for MQTT."""

Document = dict[str, Any]
Action = Literal["receive", "send"]


class Said(Struct, frozen=True):
    """What goes over one topic."""

    what: str
    payload: str | Document
    """Name of a word's schema, or a schema of its own."""
    content: str = JSON
    qos: int | None = None
    """None = the publisher chooses, or it is that of what is answered."""
    retained: bool = False
    answer: str | None = None
    """The leaf that answers it."""


_ANY: Final[Document] = {"description": "Anything; it is not read."}
_SWITCH: Final[Document] = {"type": "string", "enum": ["ON", "OFF"]}
_OVERRIDE: Final[Document] = {
    "description": "An action of the agent's action space, or OFF.",
    "examples": [1, [21.5], "OFF"],
}
_BIRTH: Final[Document] = {"type": "string", "enum": ["online", "offline"]}
_STATUS: Final[Document] = {"type": "string", "examples": ["online", "offline"], "maxLength": 1024}
_F32: Final[Document] = {
    "type": "string",
    "contentEncoding": "binary",
    "description": "Little-endian, byte by byte in docs/device-maker.md.",
}
_PART: Final[Document] = {"type": "string", "contentEncoding": "binary", "maxLength": 16_384}

BELOW_DEVICE: Final[Mapping[str, Said]] = {
    "hello": Said("What a device may say of itself first.", "hello", answer="cfg"),
    "obs": Said("What a device sees, with its reward.", "observation", answer="act"),
    "obs/mp": Said("The same.", "observation", "application/msgpack", answer="act/mp"),
    "obs/f32": Said("The same, for small devices.", _F32, "application/octet-stream",
                    answer="act/f32"),
    "reward": Said("A person's reward for the device's next observation.", "reward"),
    "status": Said("Whether the device is there; also its will.", _STATUS, TEXT, retained=True),
    "cfg": Said("What the hub expects, and where the device's counter stood.", "cfg", qos=1),
    "act": Said("What to do; once it and its observation are on disk.", "act"),
    "act/mp": Said("The same.", "act", "application/msgpack"),
    "act/f32": Said("The same, for small devices.", _F32, "application/octet-stream"),
    "err": Said("Why something was refused.", "err"),
    "state": Said("How the device fares, about once a second.", "state", qos=0, retained=True),
    "claim": Said("A device that has no key yet asks for its own.", "claim", answer="key"),
    "key": Said("It.", "key"),
    "cmd/learn": Said("Have the device's agent learn, or not.", _SWITCH, TEXT),
    "cmd/reset": Said("End the device's episode, as cut short.", _ANY),
    "cmd/override": Said("Have the device do this and not what its agent would.", _OVERRIDE),
}  # fmt: skip
ALERTS: Final[Mapping[str, str]] = dict(
    zip(topics.ALERTS, ("of the hub itself", "of an agent", "of one of its devices"), strict=True)
)
DISCOVERY: Final = Said(
    "A device as Home Assistant is to show it; where `mqtt.home_assistant` says so.",
    {"type": "object", "description": "By Home Assistant's rules of MQTT device discovery."},
    qos=1,
    retained=True,
)
BIRTH: Final = Said(
    "Home Assistant has started, and is told of all devices once more.", _BIRTH, TEXT
)
BELOW_AGENT: Final[Mapping[str, Said]] = {
    "policy/<hub>": Said("Which networks a hub gives out.", "announcement", qos=1, retained=True),
    "advice/<hub>": Said("What advice gained an agent's devices.", "gains", qos=1, retained=True),
    "want/<hub>": Said("Another hub's request for a network.", "want", qos=1),
    "adviser/<hub>": Said("Who answers questions.", "adviser", qos=1, retained=True),
    "ask/<hub>": Said("What would it do, where this is seen?", "ask", qos=1),
    "answer/<hub>": Said("What it would.", "answer", qos=1),
    "part/<sha256>/<number>": Said("A part of it.", _PART, "application/octet-stream", qos=1),
}
WORDS: Final = sorted(
    {"alert"}
    | {
        said.payload
        for said in (*BELOW_DEVICE.values(), *BELOW_AGENT.values())
        if isinstance(said.payload, str)
    }
)
"""Whose schemas are needed."""
_PARAMETERS: Final[Mapping[str, str]] = {
    "device": "Device id: `[a-z0-9_-]{1,23}`.",
    "owner": "User who owns the device's agent.",
    "agent": "Name of an agent: `[a-z0-9_-]{1,40}`.",
    "rule": "Which of the hub's rules noticed it; docs/watching.md has them.",
    "hub": "Name of a hub, as `federation.name` says.",
    "sha256": "Of the network's file.",
    "number": "Of the part, from 0.",
}


def document(schemas: Mapping[str, Document], *, base: str) -> Document:
    """The whole document.

    Args:
        schemas: JSON Schema of each word that is named above.
        base: first levels of every topic.
    """
    entries = list(_entries(base))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sheepfold over MQTT",
            "version": VERSION,
            "description": "Devices publish what they observe and are sent actions, learnt live.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": _SERVERS,
        "channels": {entry.name: _channel(entry) for entry in entries},
        "operations": {
            f"{action}_{entry.name}": _operation(entry, action)
            for entry in entries
            for action in entry.actions
        },
        "components": {"schemas": _components(schemas), "securitySchemes": _SECURITY},
    }


_SECURITY: Final[Document] = {
    "device": {
        "type": "userPassword",
        "description": "User name: the device id. Password: a key of its agent.",
    },
    "certificate": {
        "type": "X509",
        "description": "In place of a device's key: its common name is the device id.",
    },
    "claim": {
        "type": "userPassword",
        "description": "User name: the device id. Password: a claim token, for `claim` and `key`.",
    },
    "person": {
        "type": "userPassword",
        "description": "User name: the user. Password: from `sheepfold key create --user`.",
    },
}
_DEVICE: Final = ("device", "certificate")
_CLAIM: Final = ("claim",)
_EVERYBODY: Final = (*_DEVICE, "person")
_RECEIVED: Final[tuple[Action, ...]] = ("receive",)
_SENT: Final[tuple[Action, ...]] = ("send",)
_ALERT_NAMES: Final = ("hub_alert", "agent_alert", "device_alert")


def _known(names: Iterable[str]) -> list[Document]:
    return [{"$ref": f"#/components/securitySchemes/{name}"} for name in names]


_SERVERS: Final[Document] = {
    "mqtt": {
        "host": "localhost:1883",
        "protocol": "mqtt",
        "protocolVersion": "3.1.1",
        "description": "Devices may speak MQTT 5, too. With `[tls]` it is mqtts.",
        "security": _known(_SECURITY),
    },
    "websocket": {
        "host": "localhost:8083",
        "protocol": "ws",
        "description": "MQTT over WebSocket. With `[tls]` it is wss.",
        "security": _known(_SECURITY),
    },
    "hubs": {
        "host": "broker.example:1883",
        "protocol": "mqtt",
        "protocolVersion": "5",
        "description": "`federation.broker`: hubs tell each other what they learnt.",
    },
}


class Entry(Struct, frozen=True):
    """One topic."""

    name: str
    address: str
    said: Said
    actions: tuple[Action, ...]
    publisher: tuple[str, ...] = ()
    """Security schemes of whoever publishes what the hub receives."""
    hearer: tuple[str, ...] = ()
    """And of whoever hears what it sends."""
    servers: tuple[str, ...] = ("mqtt", "websocket")


def _entries(base: str) -> Iterator[Entry]:
    """Each topic there is."""
    published = (
        (topics.DEVICE_PUBLISHES, _DEVICE),
        ((topics.CLAIM,), _CLAIM),
        (topics.HUB_PUBLISHES, ()),
        (topics.OPERATOR_PUBLISHES, ("person",)),
    )
    for leaves, publisher in published:
        for leaf in leaves:
            hearer = _DEVICE * (leaf in topics.DEVICE_HEARS)
            hearer = _CLAIM if leaf == topics.KEY else hearer
            hearer += ("person",) * (leaf in topics.PEOPLE_HEAR)
            yield Entry(
                _name(leaf),
                topics.device_topic(base, "{device}", leaf),
                BELOW_DEVICE[leaf],
                (*_RECEIVED[: bool(publisher)], *_SENT[: bool(hearer)]),
                (*publisher, "person") if leaf == "reward" else publisher,
                hearer,
            )
    status = Said("Whether the hub is there; its will.", _STATUS, TEXT, qos=1, retained=True)
    address = topics.hub_status(base)
    yield Entry("hub_status", address, status, _SENT, hearer=_EVERYBODY)
    yield from _home_assistant(base)
    for name, (leaf, about) in zip(_ALERT_NAMES, ALERTS.items(), strict=True):
        alert = Said(f"An alert {about}; nothing when it is over.", "alert", qos=1, retained=True)
        yield Entry(name, f"{base}/{_named(leaf)}", alert, _SENT, hearer=("person",))
    for leaf in topics.FEDERATION:
        address = topics.agent_topic(base, "{agent}", _named(leaf))
        said, name = BELOW_AGENT[leaf], f"agents_{leaf.partition('/')[0]}"
        yield Entry(name, address, said, ("receive", "send"), servers=("hubs",))


def _home_assistant(base: str) -> Iterator[Entry]:
    prefix = topics.HOME_ASSISTANT
    shown = topics.discovery_topic(prefix, "{owner}", base, "{device}")
    yield Entry("discovery", shown, DISCOVERY, _SENT, hearer=("person",))
    yield Entry("birth", topics.birth(prefix), BIRTH, _RECEIVED, publisher=("person",))


def _named(leaf: str) -> str:
    """With its placeholders as AsyncAPI writes them."""
    return leaf.replace("<", "{").replace(">", "}")


def _name(leaf: str) -> str:
    return leaf.replace("/", "_")


def _channel(entry: Entry) -> Document:
    said = entry.said
    payload = said.payload
    message = {
        "contentType": said.content,
        "payload": {"$ref": f"#/components/schemas/{payload}"}
        if isinstance(payload, str)
        else payload,
    }
    channel: Document = {
        "address": entry.address,
        "description": said.what,
        "messages": {entry.name: message},
        "servers": [{"$ref": f"#/servers/{server}"} for server in entry.servers],
    }
    named = re.findall(r"{(\w+)}", entry.address)
    if named:
        channel["parameters"] = {name: {"description": _PARAMETERS[name]} for name in named}
    return channel


def _operation(entry: Entry, action: Action) -> Document:
    said = entry.said
    binding: Document = {"retain": said.retained, "bindingVersion": BINDING_VERSION}
    if said.qos is not None:
        binding["qos"] = said.qos
    operation: Document = {
        "action": action,
        "channel": {"$ref": f"#/channels/{entry.name}"},
        "summary": said.what,
        "bindings": {"mqtt": binding},
    }
    security = entry.publisher if action == "receive" else entry.hearer
    if security:
        operation["security"] = _known(security)
    if said.answer is not None:
        operation["reply"] = {"channel": {"$ref": f"#/channels/{_name(said.answer)}"}}
    return operation


def _components(schemas: Mapping[str, Document]) -> Document:
    """The schemas and their parts, in one place and without what names their own."""
    parts: Document = {}
    for name, schema in schemas.items():
        parts |= schema.get("$defs", {})
        parts[name] = {key: of for key, of in schema.items() if key not in ("$schema", "$defs")}
    text = json.dumps(parts).replace('"#/$defs/', '"#/components/schemas/')
    moved: Document = json.loads(text)
    return moved
