"""Mappings: how what a legacy device says becomes an observation, as an operator writes it down.

    topics = ["tele/{device}/SENSOR"]
    format = "json"

    [[observations]]
    name = "temp"
    path = "BME280.Temperature"
    unit = "Cel"

`hub/intake/mapping/` reads and carries them out, docs/legacy.md explains them with an example.
"""

from __future__ import annotations

from typing import Any, Literal, NewType

from msgspec import Struct, field

MappingName = NewType("MappingName", str)
"""`[a-z0-9_-]{1,40}`."""
Format = Literal["json", "msgpack", "f32", "csv", "text", "form", "senml", "sparkplug"]


class Reading(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One number in a payload: where it stands, and what is done to it, in the order of the fields.

    Numbers, text that is one, `true` and `false`, `ON` and `OFF` are read without being told.
    """

    path: str
    """JMESPath; quick where it is names and places only: `BME280.Temperature`, `"DS18B20-1".t`,
    `[0]` (csv, f32), `@` (text). Of senml and sparkplug the record's or metric's name, as it is."""
    values: dict[str, float] = field(default_factory=dict)
    """What words mean, `{"OFF": 0, "ON": 1}`; then no other value is taken."""
    sent_in: str | None = None
    """Unit that the device sends, as SenML writes it: `Cel`, `%RH`, `W`; also `degF`, `hPa`, …"""
    unit_path: str | None = None
    """Where the device itself says the unit; `sent_in` counts where it says none."""
    unit: str | None = None
    """Unit of the observation."""
    scale: float = 1.0
    offset: float = 0.0
    """number * scale + offset, after the unit."""
    clip: tuple[float, float] | None = None
    """Least and greatest; what lies beyond becomes the bound."""
    missing: Literal["reject", "hold"] | float | None = None
    """What is done where there is nothing, `null`, NaN or a word like `unavailable`: refuse the
    payload, take the last value, or this one. None = refuse it (of sparkplug, which sends changes
    only, hold); of `reward` there is none, and `done` is false."""


class Field(Reading, frozen=True, omit_defaults=True, kw_only=True):
    """One number of the observation."""

    name: str
    """`[A-Za-z_][A-Za-z0-9_]*`: what it is called in the agent's reward."""


class Command(Struct, frozen=True, omit_defaults=True):
    """How an action is told to the device: one of `values`, or `payload`."""

    topic: str | None = None
    """`cmnd/{device}/POWER`; None = the action comes on `act`, and in the HTTP answer."""
    values: list[Any] | None = None
    """Of each choice what is sent, in order: text as it is, anything else as JSON."""
    payload: Any = None
    """The same with `{0}`, `{1}`, … where the action's numbers go: `{"brightness": "{0}"}`."""
    decimals: int | None = None
    """Of those numbers; None = as many as a float32 has."""


class Status(Struct, frozen=True, omit_defaults=True):
    """Where the device, or its will, says whether it is there."""

    topic: str
    """`tele/{device}/LWT`."""
    online: str = "online"
    offline: str = "offline"


class Mapping(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one type of device sends and is sent."""

    format: Format
    observations: list[Field]
    """In the order of the agent's space."""
    topics: list[str] = field(default_factory=list)
    """MQTT topics of its observations; `{device}` stands where the device id does, `+` for any
    level, `#` at the end for all below."""
    device: str | None = None
    """Path of the device id in a payload over HTTP; None = `?device=`, or the key's."""
    separator: str = ","
    """Of csv."""
    decimal: str = "."
    """In numbers of csv and text."""
    reward: Reading | None = None
    """Of the action before; None = the device knows none."""
    done: Reading | None = None
    """Not 0: the episode is over."""
    action: Command | None = None
    """None = as to any other device, on `act` or in the HTTP answer."""
    status: Status | None = None
