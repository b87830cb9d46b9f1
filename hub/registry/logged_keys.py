"""How a key that may do little stands in the log: for versions without such keys it is nobody's.

    fact = KeyMade(logged(key), by)
    key = read(fact.key)                # whichever version wrote it

What a version does not know of a key it leaves out. Folded so, a hub's key would be its user's
own, a publishable one, which stands in a web page, or one for rewards its agent's: whoever has it
could do everything after a step back. So their user or agent stands in another field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

if TYPE_CHECKING:
    from hub.words import Key


def logged(key: Key) -> Key:
    """As it stands in the log."""
    if key.hub is not None:
        return structs.replace(key, user=None, hub_of=key.user)
    if key.publishable is not None or key.rewarding is not None:
        return structs.replace(key, agent=None, limited_to=key.agent)
    return key


def read(key: Key) -> Key:
    """As everybody else knows it; earlier versions logged it like this."""
    if key.hub_of is not None:
        return structs.replace(key, user=key.hub_of, hub_of=None)
    if key.limited_to is not None:
        return structs.replace(key, agent=key.limited_to, limited_to=None)
    return key
