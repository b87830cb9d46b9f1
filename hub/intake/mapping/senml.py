"""SenML packs (RFC 8428) as documents of named records, base fields resolved (section 4.6).

    resolve([{"bn": "urn:dev:1:", "bu": "Cel", "n": "temp", "v": 21}])
    {"urn:dev:1:temp": {"v": 21, "u": "Cel"}, "temp": …}

A record is found by its whole name, and by its own without the base: the same mapping then serves
devices of other addresses. Of records of one name the latest counts.
"""

from __future__ import annotations

from typing import Final

from hub.errors import DeviceFault
from hub.spaces import shown
from hub.words import Code

RECORDS_MAX: Final = 10_000
VALUES: Final = ("v", "vs", "vb", "s")
"""A number, text, truth, or sum; data (`vd`) is no number."""
_VERSION: Final = 10
_PLAIN: Final = frozenset({"n", "u", "v"})

Record = dict[str, object]


def resolve(pack: object) -> dict[str, Record]:
    """Each record's value `v` and unit `u`, by name.

    Raises:
        DeviceFault: it is no pack.
    """
    if not isinstance(pack, list) or len(pack) > RECORDS_MAX:
        text = f"a SenML pack is a list of at most {RECORDS_MAX} records, not {shown(pack)}"
        raise DeviceFault(Code.PAYLOAD, text)
    base: Record = {}
    records: dict[str, Record] = {}
    times: dict[str, float] = {}
    for i, record in enumerate(pack):
        if not isinstance(record, dict):
            raise DeviceFault(Code.PAYLOAD, f"SenML record {i} is {shown(record)}, not an object")
        if _is_plain(record) and "bv" not in base:
            value: object = record["v"]
        else:
            _take_base(record, base, i)
            value = _value(record, base)
        if value is None:
            continue
        own = str(record.get("n", ""))
        resolved: Record = {"v": value, "u": record.get("u", base.get("bu"))}
        timed = "t" in record or "bt" in base
        time = _number(base.get("bt")) + _number(record.get("t")) if timed else 0.0
        for name in (str(base.get("bn", "")) + own, own):
            if time >= times.get(name, time):
                records[name], times[name] = resolved, time
    return records


def _is_plain(record: Record) -> bool:
    """Nothing but a name, a number and its unit, as nearly all are: there is nothing to check."""
    return (
        record.keys() <= _PLAIN
        and type(record.get("v")) is float
        and type(record.get("n")) is str
        and type(record.get("u", "")) is str
    )


def _value(record: Record, base: Record) -> object:
    """The record's value, with the base value on a number and the base sum on a sum."""
    if "v" in record and "bv" not in base:
        return _number(record["v"])
    for name, base_name in (("v", "bv"), ("s", "bs")):
        if name in record or (name == "v" and base_name in base and not _has_value(record)):
            return _number(base.get(base_name)) + _number(record.get(name))
    return next((record[name] for name in VALUES if name in record), None)


def _has_value(record: Record) -> bool:
    return any(name in record for name in (*VALUES, "vd"))


def _take_base(record: Record, base: Record, i: int) -> None:
    """What the record says for all that follow; its fields are of the right types.

    Raises:
        DeviceFault: they are not.
    """
    for name, value in record.items():
        types = _TYPES.get(name)
        if types is None:
            # Section 4.4: what is not understood and must be, ends in an underscore.
            if name.endswith("_"):
                text = f"SenML record {i}: {name!r:.40} must be understood"
                raise DeviceFault(Code.PAYLOAD, text)
        elif type(value) not in types:  # a bool is no number here
            raise DeviceFault(Code.PAYLOAD, f"SenML record {i}: {name!r} is {shown(value)}")
        elif name[0] == "b":
            base[name] = value
    version = record.get("bver", _VERSION)
    if isinstance(version, int | float) and version > _VERSION:
        raise DeviceFault(Code.PAYLOAD, f"SenML version {version}; {_VERSION} is the latest known")


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return float("inf")


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("bn", "bu", "n", "u", "vs"), (str,)),
    **dict.fromkeys(("bt", "bv", "bs", "bver", "t", "v", "s"), (float, int)),
}
