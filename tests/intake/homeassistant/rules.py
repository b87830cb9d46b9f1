"""What Home Assistant takes, as JSON Schema and by its own reading of a payload.

From its source at https://github.com/home-assistant/core, `homeassistant/components/mqtt`, as of
2026: `DEVICE_DISCOVERY_SCHEMA`, `MQTT_ENTITY_DEVICE_INFO_SCHEMA` and `MQTT_ORIGIN_INFO_SCHEMA` in
`schemas.py`; `TOPIC_MATCHER`, `_parse_device_payload` and `_merge_common_device_options` in
`discovery.py`; `DISCOVERY_SCHEMA` in `sensor.py`, `switch.py`, `button.py` and `number.py`;
`valid_publish_topic` in `util.py`. It takes a component of a platform alone for "there is no such
any more". Entities of a platform it does not know, options it does not know at the root, and a
component without what its platform requires are refused.
"""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

import jinja2
import jsonschema
import msgspec

TOPIC: Final = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")

TEXT: Final = {"type": "string", "minLength": 1}
PUBLISHED: Final = {"type": "string", "minLength": 1, "pattern": "^[^+#\\u0000]+$"}
QOS: Final = {"enum": [0, 1, 2]}

COMMON: Final = {
    "platform": TEXT,
    "name": TEXT,
    "unique_id": TEXT,
    "icon": {"type": "string", "pattern": "^mdi:[a-z0-9-]+$"},
    "qos": QOS,
}


def component(*required: str, category: list[str], **options: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["platform", "unique_id", *required],  # discovery of a device needs the id
        "properties": COMMON | {"entity_category": {"enum": category}} | options,
        "additionalProperties": False,
    }


BOTH: Final = ["config", "diagnostic"]
PLATFORMS: Final[dict[str, dict[str, Any]]] = {
    "sensor": component(
        "state_topic",
        category=["diagnostic"],  # `config` is refused: a sensor can't be set
        state_topic=PUBLISHED,
        value_template=TEXT,
        state_class={"enum": ["measurement", "total", "total_increasing"]},
        device_class={"enum": ["timestamp"]},
        suggested_display_precision={"type": "integer", "minimum": 0},
    ),
    "switch": component(
        "command_topic",
        category=BOTH,
        state_topic=PUBLISHED,
        command_topic=PUBLISHED,
        value_template=TEXT,
        payload_on=TEXT,
        payload_off=TEXT,
    ),
    "button": component(
        "command_topic",
        category=BOTH,
        command_topic=PUBLISHED,
        payload_press=TEXT,
        device_class={"enum": ["identify", "restart", "update"]},
    ),
    "number": component(
        "command_topic",
        category=BOTH,
        state_topic=PUBLISHED,
        command_topic=PUBLISHED,
        value_template=TEXT,
        min={"type": "number"},
        max={"type": "number"},
        step={"type": "number", "minimum": 0.001},
        mode={"enum": ["auto", "box", "slider"]},
    ),
}
DEVICE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["device", "origin", "components"],
    "additionalProperties": False,
    "properties": {
        "device": {
            "type": "object",
            "required": ["identifiers"],
            "additionalProperties": False,
            "properties": {
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1},
                **dict.fromkeys(("name", "manufacturer", "model"), TEXT),
            },
        },
        "origin": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": TEXT, "sw_version": TEXT},
        },
        "availability": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["topic"],
                "additionalProperties": False,
                "properties": {"topic": PUBLISHED},
            },
        },
        "availability_mode": {"enum": ["all", "any", "latest"]},
        "components": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["platform"],
                "properties": {"platform": {"enum": list(PLATFORMS)}},
            },
        },
    },
}


def taken(topic: str, payload: bytes) -> dict[str, Any]:
    """The payload, as Home Assistant would have taken it.

    Raises:
        AssertionError, jsonschema.ValidationError: it would have refused it.
    """
    assert TOPIC.fullmatch(topic), topic
    document: dict[str, Any] = msgspec.json.decode(payload)
    jsonschema.validate(document, DEVICE)
    ids = []
    for one in document["components"].values():
        if len(one) > 1:
            jsonschema.validate(one, PLATFORMS[one["platform"]])
            ids.append(one["unique_id"])
            if one["platform"] == "number":
                assert one["min"] < one["max"], "'max' must be > 'min'"
    assert len(set(ids)) == len(ids)
    return document


def entities(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The components that are there, by name."""
    return {name: one for name, one in document["components"].items() if len(one) > 1}


def shown(one: dict[str, Any], payload: bytes) -> str | None:
    """What an entity shows of a message: its template, of Jinja as there; None = unknown."""
    environment = jinja2.Environment(autoescape=False)
    environment.filters["as_datetime"] = lambda seconds: datetime.datetime.fromtimestamp(
        seconds, datetime.UTC
    )
    template = environment.from_string(one["value_template"])
    text = template.render(value=payload.decode(), value_json=msgspec.json.decode(payload))
    assert len(text) <= 255, "the state of an entity has 255 characters at most"
    return None if text == "None" else text
