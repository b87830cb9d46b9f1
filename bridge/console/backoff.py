"""How long after wrong passwords the next one has to wait.

Rule 1: what comes before the wait is over is not looked at, and makes it no longer. A try counts as
        wrong while it is looked at: tries at once are not more than tries one by one.
Rule 2: a wait has an end, and its longest is short: nobody is locked out for ever.
Rule 3: a browser that the user has logged in from waits for its own mistakes only, so nobody can
        keep a person out by guessing at the same name, or from behind the same proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.settings import ConsoleSettings

KEYS_MAX: Final = 10_000
"""Names, addresses and browsers remembered; beyond, the one that failed longest ago is not."""
FIRST_WAIT_S: Final = 1.0
LOGGED_PER_MINUTE: Final = 30


class _Failing(Struct):
    count: int
    until_s: float


class Counted(Struct, frozen=True):
    """One failure of one key, so that it can be taken back."""

    key: str
    count: int
    """With this one."""
    until_s: float
    """Of the wait before it."""


class Backoff:
    """Counts failures by key: a name, an address, or a browser that is known."""

    def __init__(self, settings: ConsoleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._failing: dict[str, _Failing] = {}
        self._minute = -1
        self._logged = 0

    def may_be_logged(self) -> bool:
        """Whether the log takes another failure this minute: strangers must not fill it."""
        minute = int(self._clock.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._logged = minute, 0
        self._logged += 1
        return self._logged <= LOGGED_PER_MINUTE

    def wait_s(self, keys: list[str]) -> float:
        """Seconds until the next try of any of the keys is looked at; 0 = now."""
        now = self._clock.monotonic()
        waits = (self._failing[key].until_s - now for key in keys if key in self._failing)
        return max(0.0, *waits, 0.0)

    def failed(self, keys: list[str]) -> list[Counted]:
        """A wrong password, until it is taken back; each of the keys waits longer now."""
        settings, now = self._settings, self._clock.monotonic()
        counted = []
        for key in keys:
            failing = self._failing.pop(key, None) or _Failing(0, now)
            if now - failing.until_s > settings.login_wait_s_max:
                failing.count = 0  # long ago
            failing.count += 1
            counted.append(Counted(key, failing.count, failing.until_s))
            beyond = failing.count - settings.login_free
            # 2 ** 1000 is a number too, but no wait.
            wait_s = 0.0 if beyond < 0 else FIRST_WAIT_S * 2.0 ** min(beyond, 16)
            failing.until_s = now + min(wait_s, settings.login_wait_s_max)
            self._failing[key] = failing
        while len(self._failing) > KEYS_MAX:
            del self._failing[next(iter(self._failing))]
        return counted

    def take_back(self, counted: list[Counted]) -> None:
        """It was not wrong; failures that came after it still count."""
        for one in counted:
            failing = self._failing.get(one.key)
            if failing is None:
                continue
            if failing.count == one.count:
                failing.until_s = one.until_s
            failing.count -= 1
            if failing.count <= 0:
                del self._failing[one.key]

    def passed(self, keys: list[str]) -> None:
        """The right password: its name and browser begin anew.

        An address does not: whoever has one account could else guess at others from there.
        """
        for key in keys:
            self._failing.pop(key, None)
