"""One mapping at work: a payload in, a Message out, and what must be remembered for the next.

    mapper = Mapper("tasmota", 3, mapping)
    mapped = mapper.read(payload, memory)       # None: nothing of the mapping is in it
    memory = mapped.memory                      # once the observation is taken, and not before

Rule 1: any payload ends in a Mapped, None or DeviceFault, within a time bounded by its length.
Rule 2: what comes out depends on payload and memory alone, and the log has both: the payload as
    it came, and those before. So a corrected mapping can read an old log again.
"""

from __future__ import annotations

import base64
import keyword
import re
import struct
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping import sparkplug
from hub.intake.mapping.formats import decoder
from hub.intake.mapping.paths import Get, compile_path
from hub.intake.mapping.readings import compile_reading
from hub.words import FLOAT_BYTES, Code, Floats, Message

if TYPE_CHECKING:
    from hub.intake.mapping.readings import Read
    from hub.mappings import Field, Mapping, Reading

FIELDS_MAX: Final = 1000
DIGITS: Final = 7
"""That a float32 has."""
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
TAKEN: Final = frozenset({"o", "abs", "min", "max", "sqrt"})
"""Names that mean something else in an expression."""
NAMED: Final = ("senml", "sparkplug")
"""Formats whose records are found by their names."""
_HOLD: Final = "hold"


class Memory(Struct, frozen=True, gc=False):
    """What a device said before, as far as it matters to what it says next."""

    mapping: str
    version: int
    held: tuple[float, ...]
    aliases: sparkplug.Aliases = {}


class Mapped(Struct, frozen=True, gc=False):
    """What a payload said."""

    numbers: tuple[float, ...]
    """In the order of the mapping's fields."""
    reward: float | None
    done: bool
    memory: Memory


class Mapper:
    """A mapping, compiled.

    Args:
        name: as it is registered.
        version: of the mapping.
        mapping: as declared.

    Raises:
        OperatorFault: it can't be carried out; the message says which part and why.
    """

    def __init__(self, name: str, version: int, mapping: Mapping) -> None:
        self.name = name
        self.version = version
        self.mapping = mapping
        self.fields = [field.name for field in mapping.observations]
        self._decode = None if mapping.format == "sparkplug" else decoder(mapping)
        _check_names(mapping.observations)
        self.gets = [self._find(field, field.name) for field in mapping.observations]
        """Of each field what finds its value, and its unit where the payload says it."""
        self.readings = [self._compile(field, field.name) for field in mapping.observations]
        """Of each field what makes the number of a document."""
        self._missing = [self._policy(field) for field in mapping.observations]
        self._reward = self._extra(mapping.reward, "reward")
        self._done = self._extra(mapping.done, "done")
        self._pack = struct.Struct(f"<{len(self.fields)}f").pack

    def read(self, payload: bytes, memory: Memory | None) -> Mapped | None:
        """What the payload says; None where it holds none of the fields, and all may be held.

        Raises:
            DeviceFault: `payload`, `type`, `range`; or `shape`, where something is missing.
        """
        if memory is not None and (memory.mapping, memory.version) != (self.name, self.version):
            memory = None  # its numbers may mean something else
        document, aliases = self.document(payload, memory)
        found = [read(document) for read in self.readings]
        if None in found:
            if found.count(None) == len(found) and self._missing.count(_HOLD) == len(found):
                return None
            found = [
                self.instead(i, memory) if number is None else number
                for i, number in enumerate(found)
            ]
        numbers = tuple(found)
        return Mapped(
            numbers,  # type: ignore[arg-type]  # none of them is None any more
            None if self._reward is None else self._reward(document),
            self._done is not None and bool(self._done(document)),
            Memory(self.name, self.version, numbers, aliases),  # type: ignore[arg-type]  # as above
        )

    def document(self, payload: bytes, memory: Memory | None) -> tuple[object, sparkplug.Aliases]:
        """The payload as paths look into it, and the aliases that are known after it.

        Raises:
            DeviceFault: as `read`.
        """
        aliases = memory.aliases if memory is not None else {}
        if self._decode is not None:
            return self._decode(payload), aliases
        return sparkplug.named(sparkplug.read_payload(payload), aliases)

    def message(self, payload: bytes, mapped: Mapped) -> Message:
        """The observation, and what the log keeps of where it came from."""
        kept: dict[str, Any] = {"mapping": self.name, "version": self.version}
        try:
            kept["raw"] = payload.decode()
        except UnicodeDecodeError:
            kept["raw64"] = base64.b64encode(payload).decode()
        values = Floats(self._pack(*mapped.numbers))
        return Message(o=values, r=mapped.reward, d=mapped.done, i=kept)

    def device_in(self, payload: bytes, get: Get) -> str | None:
        """The device that a payload itself names, where a path of the mapping finds it.

        Raises:
            DeviceFault: as `read`.
        """
        if self._decode is None:
            return None
        found = get(self._decode(payload))
        return found.strip().lower() if isinstance(found, str) else None

    def instead(self, i: int, memory: Memory | None) -> float:
        """Of a field that is missing.

        Raises:
            DeviceFault: `shape`, where its policy has nothing for it.
        """
        policy = self._missing[i]
        if isinstance(policy, float):
            return policy
        field = self.mapping.observations[i]
        if policy == _HOLD and memory is not None:
            return memory.held[i]
        why = "is missing" if policy != _HOLD else "is missing, and nothing came before to hold"
        raise DeviceFault(Code.SHAPE, f"{field.name} ({field.path}) {why}")

    def _compile(self, reading: Reading, where: str) -> Read:
        get, unit_of = self._find(reading, where)
        return compile_reading(reading, where, get, unit_of, self.mapping.decimal)

    def _find(self, reading: Reading, where: str) -> tuple[Get, Get | None]:
        """What finds its value, and its unit."""
        try:
            if self.mapping.format in NAMED:
                return _named(reading)
            unit_of = None if reading.unit_path is None else compile_path(reading.unit_path)
            return compile_path(reading.path), unit_of
        except OperatorFault as fault:
            raise OperatorFault(f"{where}: {fault}") from fault

    def _policy(self, field: Field) -> str | float:
        if field.missing is not None:
            return field.missing if isinstance(field.missing, str) else float(field.missing)
        return _HOLD if self.mapping.format == "sparkplug" else "reject"

    def _extra(self, reading: Reading | None, where: str) -> Read | None:
        """Of reward or done: where it is missing it is None, or the number declared for it."""
        if reading is None:
            return None
        if isinstance(reading.missing, str):
            raise OperatorFault(f"{where}: missing is a number, or left out")
        read, fill = self._compile(reading, where), reading.missing
        if fill is None:
            return read

        def filled(document: object) -> float | None:
            number = read(document)
            return fill if number is None else number

        return filled


def _check_names(fields: list[Field]) -> None:
    if not 1 <= len(fields) <= FIELDS_MAX:
        raise OperatorFault(f"observations: 1 to {FIELDS_MAX} are taken, not {len(fields)}")
    known: set[str] = set()
    for field in fields:
        if not NAME.fullmatch(field.name) or keyword.iskeyword(field.name) or field.name in TAKEN:
            raise OperatorFault(
                f"observation {field.name!r:.50}: a name is letters, digits and _, 40 at most, "
                f"and none of {' '.join(sorted(TAKEN))}, nor of Python's own words"
            )
        if field.name in known:
            raise OperatorFault(f"observation {field.name!r} stands there twice")
        known.add(field.name)


def _named(reading: Reading) -> tuple[Get, Get | None]:
    """Of a record that is found by its name; it may say its unit itself."""
    name = reading.path
    if reading.unit_path is not None:
        raise OperatorFault("a record says its unit itself; leave unit_path out")

    def part(which: str) -> Get:
        def get(document: object) -> object:
            assert isinstance(document, dict), "of named records"
            record = document.get(name)
            return None if record is None else record.get(which)

        return get

    return part("v"), None if reading.unit is None else part("u")


def numbers_of(values: Floats) -> tuple[float, ...]:
    """The numbers of an observation, as the log keeps it."""
    return struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values)


def shown(mapper: Mapper, mapped: Mapped) -> dict[str, object]:
    """What a payload said, for whoever tries a mapping."""
    numbers = [float(f"{number:.{DIGITS}g}") for number in mapped.numbers]
    return {
        "o": dict(zip(mapper.fields, numbers, strict=True)),
        "r": mapped.reward,
        "d": mapped.done,
    }
