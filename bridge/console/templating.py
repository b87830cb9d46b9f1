"""How pages are made: Jinja, every value escaped, and how numbers and times are written."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig

FOLDER: Final = Path(__file__).parent / "templates"
NOTHING: Final = "–"
SMALLEST: Final = 1e-6
"""What is nearer to 0 is shown as 0."""
LARGEST: Final = 1e12
"""What is further from 0 has an exponent, `1e+30`; nobody counts its digits."""
NUMBERS_SHOWN: Final = 6
CELL_CHARACTERS: Final = 200


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """For the application."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "number": number,
        "rate": rate,
        "ago": ago,
        "when": when,
        "plural": plural,
        "shown_action": shown_action,
        "cell": cell,
    }
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def number(value: float | None, digits: int = 1) -> str:
    """A number as people read it: `12,345`, `0.25`, `0.00012`, `1e+30`, and a dash for none.

    What a sum leaves behind, 1e-17 where there is nothing, is 0.
    """
    if value is None:
        return NOTHING
    if isinstance(value, float) and abs(value) >= LARGEST:
        return f"{value:.3g}"
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    if abs(value) < SMALLEST:
        value = 0.0
    elif abs(value) < 0.5 / 10**digits:
        digits = 1 - math.floor(math.log10(abs(value)))  # two that say something
    return f"{value:,.{digits}f}"


def rate(value: float | None) -> str:
    """Steps a second."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def ago(seconds: float | None) -> str:
    """How long ago, roughly."""
    if seconds is None:
        return "not since start"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return "now" if seconds < 2 else f"{seconds:.0f} s ago"


def when(value: object) -> str:
    """A time of the log, UTC, as text or in microseconds."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(value)[:19].replace("T", " ")


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 device`, `2 devices`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shown_action(values: list[float | None] | None) -> str:
    """An action as the log has it: flat numbers, a few of them."""
    if values is None:
        return NOTHING
    texts = [NOTHING if value is None else f"{value:.4g}" for value in values[:NUMBERS_SHOWN]]
    more = ", …" if len(values) > NUMBERS_SHOWN else ""
    return texts[0] if len(values) == 1 else f"[{', '.join(texts)}{more}]"


def cell(value: object) -> str:
    """A value of a query's result, cut where it is long."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.7g}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…"
