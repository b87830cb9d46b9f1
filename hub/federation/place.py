"""Where hubs meet, and as whom: what the settings say, or a refusal before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.address import read_address
from hub.errors import OperatorFault
from hub.registry.access import SECRET

if TYPE_CHECKING:
    from hub.address import Address
    from hub.settings.federation import FederationSettings


class KeyMade(Struct, frozen=True):
    """What `sheepfold key create --hub` prints, as far as it is of use here."""

    hub: str
    api_key: str


_key_made: Final = msgspec.json.Decoder(KeyMade)


def place_of(settings: FederationSettings) -> Address:
    """Where hubs meet.

    Raises:
        OperatorFault: the setting names no broker.
    """
    address = read_address(settings.broker, "federation.broker")
    if address.user is not None:
        raise OperatorFault(
            "setting federation.broker has a user in it: write user:password into a file, and its "
            "path into federation.credentials"
        )
    return address


def login_of(settings: FederationSettings) -> tuple[str, str] | None:
    """User and password for the broker; None where there are none.

    Raises:
        OperatorFault: the file can't be read, or holds something else.
    """
    if not settings.credentials:
        return None
    try:
        text = Path(settings.credentials).read_text().strip()
    except FileNotFoundError as error:
        raise OperatorFault(_no_file(settings)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorFault(f"federation.credentials can't be read: {error}") from error
    if text.startswith("{"):
        return _login_in(text)
    user, colon, password = text.partition(":")
    if not colon or "\n" in password:
        raise OperatorFault(
            "federation.credentials names a file that is neither one user:password nor what "
            "'sheepfold key create --user USER --hub NAME' prints"
        )
    return user, password


def check_name(settings: FederationSettings, hub_id: str) -> None:
    """Refuse a name under which this hub could say nothing.

    Where hubs meet at the gate of one of them each speaks under the name that its key was made
    for; what another broker lets its users say is not known here.

    Args:
        settings: `[federation]`.
        hub_id: id of the hub's log, its name where the settings have none.

    Raises:
        OperatorFault: the credentials are a key, and of another hub than `federation.name` says.
    """
    login, name = login_of(settings), settings.name or hub_id
    if login is None or not SECRET.fullmatch(login[1]) or login[0] == name:
        return
    raise OperatorFault(
        f"federation.name is {settings.name!r}, but the key in federation.credentials was made for "
        f'hub {login[0]!r}, which may speak under no other name: write name = "{login[0]}", or '
        f"make a key with 'sheepfold key create --user USER --hub {settings.name or 'NAME'}'"
    )


def _login_in(text: str) -> tuple[str, str]:
    try:
        made = _key_made.decode(text)
    except msgspec.MsgspecError as error:
        raise OperatorFault(
            f"federation.credentials names a file with a key of no hub ({error}): make one with "
            "'sheepfold key create --user USER --hub NAME'"
        ) from error
    return made.hub, made.api_key


def _no_file(settings: FederationSettings) -> str:
    name = settings.name or "NAME"
    return (
        f"federation.credentials names {settings.credentials}, which does not exist. Where hubs "
        "meet at one of them, make the key first, on that hub: 'sheepfold key create --user USER "
        f"--hub {name} > FILE' (run it without [federation] until its own key is there), and put "
        "the file in place here. For any other broker write one line into it, user:password"
    )
