"""A form that was refused: it is shown again with what was typed, and why, at the field.

    return _page(request, desk, visit, mistake_of("add", form, fault, FIELDS))

Refusals come from where the rule is, which knows no form. A message names what it is about, so the
field is the one that it names first; where it names none, it stands above the form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request

TEXT_MAX: Final = 20_000
"""Characters of one field; a declaration is read by people."""
SECRETS: Final = frozenset({"_csrf_token", "password", "again", "new"})
"""Fields that no page shows again."""


class Mistake(Struct, frozen=True):
    """One refusal."""

    form: str
    """Which of the page's."""
    text: str
    field: str | None
    """None: the form as a whole."""
    typed: dict[str, str]


async def typed(request: Request[Any, Any, Any]) -> dict[str, str]:
    """A form's fields, stripped; a password is as it was typed."""
    form = await request.form()
    return {
        name: str(value) if name in SECRETS else str(value).strip()
        for name, value in form.items()
        if name != "_csrf_token"
    }


def mistake_of(
    form: str, values: Mapping[str, str], fault: Exception, fields: Mapping[str, str]
) -> Mistake:
    """What a refusal of these values says, and where.

    Args:
        form: which of the page's forms.
        values: as they were typed.
        fault: why not.
        fields: of each field the word by which messages call it.
    """
    text = str(fault)
    kept = {name: value[:TEXT_MAX] for name, value in values.items() if name not in SECRETS}
    return Mistake(form, text, _named_first(text, fields), kept)


def _named_first(text: str, fields: Mapping[str, str]) -> str | None:
    """The field whose word comes first in the message."""
    places = {}
    for name, word in fields.items():
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
        if found is not None:
            places[name] = found.start()
    return min(places, key=lambda name: places[name], default=None)
