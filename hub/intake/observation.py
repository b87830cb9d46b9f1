"""A payload becomes a Message, a Message an Observation its agent can use, or a named refusal."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from hub.errors import DeviceFault
from hub.intake.misspelt import noted
from hub.mask import read_mask
from hub.spaces import check_floats, flatten
from hub.words import FLOAT_BYTES, Code, Floats, Message, Observation

if TYPE_CHECKING:
    from hub.registry.fold import Spec

LONG_NAMES: Final = {
    "obs": "o",
    "step": "s",
    "reward": "r",
    "done": "d",
    "truncated": "tr",
    "executed": "x",
    "boot": "b",
    "info": "i",
    "first": "f",
}
SHOWN_BYTES: Final = 16
"""So many of a payload that can't be read stand in its refusal."""
BOOT_MAX: Final = 2**32 - 1
STEP_MAX: Final = 2**62
REWARD_MAX: Final = 3.4028234663852886e38
"""Of float32: what learns counts in it."""

NAN: Final = re.compile(rb"(?<![\w\"])NaN\b", re.IGNORECASE)
NAN_HINT: Final = (
    " (NaN is not JSON: leave a reward out that is not known; in an observation send the last good "
    "value, or one that means there is none)"
)
"""An observation has a place for each value, so none of them can be left out."""

_F32_HEAD: Final = struct.Struct("<BBHf")
_F32_VERSION: Final = 1
_DONE, _TRUNCATED, _REWARD_VALID, _FIRST = 1, 2, 4, 8

_json: Final = msgspec.json.Decoder()
_msgpack: Final = msgspec.msgpack.Decoder()


class _Short(Message, frozen=True, forbid_unknown_fields=True):
    """A message in short names and no others: a long one would be left out unseen."""


_fast: Final = msgspec.json.Decoder(_Short, strict=False)


def decode(encoding: str, payload: bytes) -> Message:
    """The message in a payload; `encoding` is `json`, `mp` or `f32`.

    Raises:
        DeviceFault: `payload` = it is not of that encoding; `type` = a field is of a wrong type.
    """
    if encoding == "f32":
        return _decode_f32(payload)
    if encoding == "json":
        try:
            # The short form in one pass; anything else takes the longer way below.
            if payload.startswith(b'{"') and b'"o"' in payload:
                return _checked(Message(*structs.astuple(_fast.decode(payload))))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    try:
        document = (_json if encoding == "json" else _msgpack).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = NAN_HINT if NAN.search(payload) else ""
        text = f"not {_NAMES[encoding]}: {error}; it begins {beginning(payload)}{hint}"
        raise DeviceFault(Code.PAYLOAD, text) from error
    return from_document(document)


def beginning(payload: bytes) -> str:
    """The first bytes of what came, to be read by a person."""
    return ascii(payload[:SHOWN_BYTES].decode("utf-8", "replace"))


def from_document(document: Any) -> Message:
    """The message in an already decoded document: an object, or a bare array of values.

    Raises:
        DeviceFault: `payload` or `type`, as `decode`.
    """
    if not isinstance(document, dict):
        if isinstance(document, (list, int, float)) and not isinstance(document, bool):
            return Message(o=document)
        raise DeviceFault(Code.PAYLOAD, "expected an object with 'o', or an array of values")
    fields: dict[str, Any] = {
        _short(name): value
        for name, value in document.items()
        if value is not None or name in ("o", "obs")
    }
    if "o" not in fields:
        message = "no observation: 'o' (or 'obs') is missing"
        raise DeviceFault(Code.PAYLOAD, message, step=_step(fields))
    try:
        return _checked(noted(msgspec.convert(fields, Message, strict=False), fields))
    except msgspec.ValidationError as error:
        raise DeviceFault(Code.TYPE, _plain(error), step=_step(fields)) from error


def check(spec: Spec, message: Message) -> Observation:
    """The message's values against the agent's spaces, flattened.

    Raises:
        DeviceFault: `shape`, `type` or `range`, with the step it was sent for.
    """
    try:
        if isinstance(message.o, bytes):
            values = check_floats(spec.observations, Floats(message.o))
        else:
            values = flatten(spec.observations, message.o)
        executed = None if message.x is None else flatten(spec.actions, message.x, what="executed")
        mask = read_mask(spec.agent, spec.actions, message.i)
    except DeviceFault as fault:
        fault.step = message.s
        raise
    reward = message.r
    missing_value = reward is not None and not abs(reward) <= REWARD_MAX  # nor is NaN
    return Observation(
        values=values,
        reward=None if missing_value else reward,
        terminated=message.d,
        truncated=message.tr,
        executed=executed,
        info=_info(message),
        missing_value=missing_value,
        mask=mask,
    )


_NAMES: Final = {"json": "JSON", "mp": "MessagePack"}


def _checked(message: Message) -> Message:
    if message.s is not None and not 0 <= message.s <= STEP_MAX:
        raise DeviceFault(Code.TYPE, f"step {message.s} is not a count from 0 to {STEP_MAX}")
    if message.b is not None and not 0 <= message.b <= BOOT_MAX:
        text = f"boot {message.b} is not a whole number from 0 to {BOOT_MAX}"
        raise DeviceFault(Code.TYPE, text, step=message.s)
    return message


def _decode_f32(payload: bytes) -> Message:
    """`u8 version<<4|flags, u8 n, u16 step, f32 reward, f32[n]` (docs/device-maker.md)."""
    if len(payload) < _F32_HEAD.size:
        raise DeviceFault(Code.PAYLOAD, f"{len(payload)} bytes; the head has {_F32_HEAD.size}")
    head, count, step, reward = _F32_HEAD.unpack_from(payload)
    if head >> 4 != _F32_VERSION:
        message = f"f32 version {head >> 4}, the hub speaks {_F32_VERSION}"
        raise DeviceFault(Code.PAYLOAD, message, step=step)
    values = payload[_F32_HEAD.size :]
    if len(values) != count * FLOAT_BYTES:
        message = f"{len(values)} bytes of values, n={count} means {count * FLOAT_BYTES}"
        raise DeviceFault(Code.PAYLOAD, message, step=step)
    return Message(
        o=values,
        s=step,
        r=reward if head & _REWARD_VALID else None,
        d=bool(head & _DONE),
        tr=bool(head & _TRUNCATED),
        f=bool(head & _FIRST),
    )


def _short(name: str) -> str:
    return LONG_NAMES.get(name, name)


def _info(message: Message) -> str | None:
    """What else the device sent, as the log keeps it; MessagePack holds what JSON can't."""
    if not message.i:
        return None
    try:
        return msgspec.json.encode(message.i).decode()
    except (TypeError, ValueError, RecursionError) as error:
        text = f"info can't be kept as JSON: {error}"
        raise DeviceFault(Code.TYPE, text, step=message.s) from error


def _step(fields: dict[str, Any]) -> int | None:
    """The step a refused message was sent for, where it can be one."""
    step = fields.get("s")
    return step if type(step) is int and 0 <= step <= STEP_MAX else None


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's sentence with our field's long name beside the short one."""
    text = str(error)
    for long, short in LONG_NAMES.items():
        text = text.replace(f"`$.{short}`", f"'{short}' ({long})")
    return text
