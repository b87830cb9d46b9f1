"""Logins of people, kept in memory: a restart of the hub shows everybody out.

Rule 1: the cookie is 256 random bits; here only its SHA-256 is kept.
Rule 2: a login is over when it was idle for too long, when it is too old, when its user is removed
        or given another password, or when it is one too many.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.registry.fold import Registry
    from hub.settings import ConsoleSettings

TOKEN_BYTES: Final = 32
OF_USER_MAX: Final = 32
"""Logins of one user at once; one more ends that user's own, not somebody else's."""


class Flash(Struct, frozen=True):
    """What the next page says of the act before it."""

    text: str
    good: bool = True
    secret: str | None = None
    """Shown this once."""


class Login(Struct):
    """One person in one browser."""

    user: str
    password_hash: bytes
    """As it was at the login; another one now means that this login is over."""
    began_s: float
    used_s: float
    open: bool = True
    """False once the person has left, or was one too many."""
    flash: Flash | None = None


class Sessions:
    """All logins, the one unused for longest first."""

    def __init__(self, registry: Registry, settings: ConsoleSettings, clock: Clock) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._logins: dict[bytes, Login] = {}
        self._known_key = secrets.token_bytes(TOKEN_BYTES)

    def open(self, user: str, password_hash: bytes) -> str:
        """A new login of a user who has shown the password with this hash; its cookie.

        It is over at once if the user has another password by now, or was removed.
        """
        now = self._clock.monotonic()
        own = [key for key, login in self._logins.items() if login.user == user]
        if len(own) >= OF_USER_MAX:
            self._logins.pop(own[0]).open = False
        while len(self._logins) >= self._settings.sessions_max:
            self._logins.pop(next(iter(self._logins))).open = False
        token = secrets.token_urlsafe(TOKEN_BYTES)
        login = Login(user, password_hash, now, now)
        self._logins[_hash(token)] = login
        return token

    def find(self, token: str | None) -> Login | None:
        """The login that a cookie stands for, used now; None when there is none any more."""
        if not token:
            return None
        key = _hash(token)
        login = self._logins.pop(key, None)
        if login is None or not self.holds(login):
            return None
        login.used_s = self._clock.monotonic()
        self._logins[key] = login  # at the end: it was used last
        return login

    def close(self, token: str | None) -> None:
        """The person leaves."""
        login = self._logins.pop(_hash(token or ""), None)
        if login is not None:
            login.open = False

    def known(self, user: str) -> str:
        """A cookie for a browser that the user has logged in from (OWASP, device cookies)."""
        return f"{user}.{self._sign(user)}"

    def is_known(self, cookie: str | None, user: str) -> bool:
        """Whether the user has logged in from this browser since the hub was started."""
        name, _, signature = (cookie or "").rpartition(".")
        signed = self._sign(user).encode()
        return name == user and hmac.compare_digest(signature.encode(), signed)

    def _sign(self, user: str) -> str:
        return hmac.new(self._known_key, user.encode(), sha256).hexdigest()

    def holds(self, login: Login) -> bool:
        """Whether it is still one; a page that only stays open uses nothing."""
        now, settings = self._clock.monotonic(), self._settings
        return (
            login.open
            and now - login.used_s <= settings.session_idle_s
            and now - login.began_s <= settings.session_s_max
            and self._registry.passwords.get(login.user) == login.password_hash
        )


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
