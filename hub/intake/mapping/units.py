"""Units, named as SenML does (RFC 8428, section 12.1; RFC 8798), with those it left out."""

from __future__ import annotations

import math
from typing import Final

from hub.errors import OperatorFault

UNITS: Final[dict[str, tuple[str, float, float]]] = {
    # name: (what it measures, factor, addend) of value × factor + addend in the first of its kind
    "K": ("temperature", 1.0, 0.0),
    "Cel": ("temperature", 1.0, 273.15),
    "degF": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "/": ("ratio", 1.0, 0.0),
    "%": ("ratio", 0.01, 0.0),
    "/100": ("ratio", 0.01, 0.0),
    "/1000": ("ratio", 1e-3, 0.0),
    "ppm": ("ratio", 1e-6, 0.0),
    "%RH": ("ratio", 0.01, 0.0),
    "%EL": ("ratio", 0.01, 0.0),
    "Pa": ("pressure", 1.0, 0.0),
    "hPa": ("pressure", 100.0, 0.0),
    "mbar": ("pressure", 100.0, 0.0),
    "kPa": ("pressure", 1e3, 0.0),
    "bar": ("pressure", 1e5, 0.0),
    "psi": ("pressure", 6894.757293168361, 0.0),
    "mmHg": ("pressure", 133.322387415, 0.0),
    "inHg": ("pressure", 3386.388640341, 0.0),
    "W": ("power", 1.0, 0.0),
    "mW": ("power", 1e-3, 0.0),
    "kW": ("power", 1e3, 0.0),
    "J": ("energy", 1.0, 0.0),
    "kJ": ("energy", 1e3, 0.0),
    "Wh": ("energy", 3600.0, 0.0),
    "kWh": ("energy", 3.6e6, 0.0),
    "V": ("voltage", 1.0, 0.0),
    "mV": ("voltage", 1e-3, 0.0),
    "A": ("current", 1.0, 0.0),
    "mA": ("current", 1e-3, 0.0),
    "s": ("time", 1.0, 0.0),
    "ms": ("time", 1e-3, 0.0),
    "min": ("time", 60.0, 0.0),
    "h": ("time", 3600.0, 0.0),
    "d": ("time", 86400.0, 0.0),
    "m": ("length", 1.0, 0.0),
    "mm": ("length", 1e-3, 0.0),
    "cm": ("length", 0.01, 0.0),
    "km": ("length", 1e3, 0.0),
    "in": ("length", 0.0254, 0.0),
    "ft": ("length", 0.3048, 0.0),
    "m/s": ("speed", 1.0, 0.0),
    "mm/h": ("speed", 1e-3 / 3600, 0.0),
    "km/h": ("speed", 1 / 3.6, 0.0),
    "mph": ("speed", 0.44704, 0.0),
    "kn": ("speed", 1852 / 3600, 0.0),
    "m3": ("volume", 1.0, 0.0),
    "l": ("volume", 1e-3, 0.0),
    "ml": ("volume", 1e-6, 0.0),
    "gal": ("volume", 3.785411784e-3, 0.0),
    "m3/s": ("flow", 1.0, 0.0),
    "m3/h": ("flow", 1 / 3600, 0.0),
    "l/s": ("flow", 1e-3, 0.0),
    "l/min": ("flow", 1e-3 / 60, 0.0),
    "kg": ("mass", 1.0, 0.0),
    "g": ("mass", 1e-3, 0.0),
    "lb": ("mass", 0.45359237, 0.0),
    "Hz": ("frequency", 1.0, 0.0),
    "kHz": ("frequency", 1e3, 0.0),
    "MHz": ("frequency", 1e6, 0.0),
    "1/min": ("frequency", 1 / 60, 0.0),
    "rad": ("angle", 1.0, 0.0),
    "deg": ("angle", math.pi / 180, 0.0),
    "lx": ("illuminance", 1.0, 0.0),
    "dB": ("level", 1.0, 0.0),
    "dBW": ("power level", 1.0, 0.0),
    "dBm": ("power level", 1.0, -30.0),
}
SPELLINGS: Final = {"℃": "Cel", "°C": "Cel", "degC": "Cel", "℉": "degF", "°F": "degF"}
"""As devices write them."""
LETTERS: Final = {"C": "Cel", "F": "degF"}
"""The same where a temperature is meant; SenML's C is the coulomb, its F the farad."""


def conversion(source: str, target: str) -> tuple[float, float]:
    """Factor and addend from one unit to the other.

    Raises:
        OperatorFault: one is not known, or they measure different things.
    """
    to_kind, to_factor, to_addend = _unit(target, "temperature")
    from_kind, from_factor, from_addend = _unit(source, to_kind)
    if from_kind != to_kind:
        raise OperatorFault(f"{source!r} is a {from_kind}, {target!r} a {to_kind}")
    return from_factor / to_factor, (from_addend - to_addend) / to_factor


def _unit(name: str, kind: str) -> tuple[str, float, float]:
    name = SPELLINGS.get(name, name)
    if kind == "temperature":
        name = LETTERS.get(name, name)
    known = UNITS.get(name)
    if known is None:
        raise OperatorFault(f"unit {name!r:.40} is not known; known are {' '.join(UNITS)}")
    return known
