"""Brokers where hubs meet: open, or with the users of `deploy/hubs`, or with a bridge to another.

with meeting_place(tmp_path, USERS) as broker:
    federation_at(broker, "site-a"), broker.kill_nine(), broker.start()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.acceptance.mosquitto import PASSWORD, Mosquitto
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "hubs"
LISTENER: Final = f"listener {{port}} {HOST}\n"
OPEN: Final = "allow_anonymous true\n"
GUARDED: Final = """
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
"""
BRIDGED: Final = """
connection to-site-a
address {host}:{there}
topic rl/v1/agents/# both 0
"""


def meeting_place(
    folder: Path, users: Sequence[str] = (), *, bridged_to: int | None = None
) -> Mosquitto:
    """One that forgets what it retained when it is killed.

    Args:
        folder: it makes one of its own there.
        users: who may connect, as `deploy/hubs/acl` lets them; none = anybody.
        bridged_to: port of another, which it is joined to.
    """
    text = LISTENER + (GUARDED if users else OPEN)
    if bridged_to is not None:
        text += BRIDGED.format(host=HOST, there=bridged_to)
    return Mosquitto(folder, text, DEPLOYED / "acl", users)


def federation_at(broker: Mosquitto, name: str) -> str:
    """`[federation]` of a hub that comes there, in TOML."""
    login = broker.folder / f"{name}.login"
    login.write_text(f"{name}:{PASSWORD}\n")
    return federation_settings(broker.port, name, login)


def federation_settings(port: int, name: str, login: Path) -> str:
    """The same, of any broker here."""
    return (
        f'[federation]\nbroker = "mqtt://{HOST}:{port}"\nname = "{name}"\n'
        f'credentials = "{login}"\nannounce_s = 0.5\nrefresh_s = 2.0\n'
    )
