"""Where hubs meet, and as whom: what the settings say, or a refusal before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hub.address import read_address
from hub.errors import OperatorFault

if TYPE_CHECKING:
    from hub.address import Address
    from hub.settings.federation import FederationSettings


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
        user, colon, password = Path(settings.credentials).read_text().strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorFault(f"federation.credentials can't be read: {error}") from error
    if not colon or "\n" in password:
        raise OperatorFault("federation.credentials names a file that is not one user:password")
    return user, password
