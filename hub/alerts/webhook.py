"""Tells a program elsewhere of each alert: one POST each, signed, tried again, bounded.

    webhook = open_webhook(settings.alerts)          # None: nobody is to be told
    webhook.tell(body)                               # returns at once
    await webhook.run()                              # for ever
    webhook.counts                                   # sent, failed, dropped

`X-Sheepfold-Signature: sha256=<hex>` is the HMAC-SHA256 (RFC 2104) of the body, by the secret that
both sides know. Whoever receives may get a body twice: its `hub` and `seq` tell, or `state` and
`ts` where it has no `seq`. A webhook that is dead costs an attempt now and then, and the counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import ssl
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NoReturn

from hub.errors import OperatorFault

if TYPE_CHECKING:
    import httpx

    from hub.settings import AlertSettings

log: Final = logging.getLogger("hub")

SIGNATURE: Final = "X-Sheepfold-Signature"
SECRET_LETTERS_MIN: Final = 16
PORT_MAX: Final = 65_535
NO_ANSWER: Final = 0
AGAIN: Final = frozenset({NO_ANSWER, 408, 425, 429, *range(500, 600)})
"""Statuses after which the same may be taken later; others refuse for good."""


class Webhook:
    """One receiver, and what is still to be told.

    Args:
        settings: `[alerts]`; the address has been checked.
        trusted: what its certificate is checked by.
    """

    def __init__(self, settings: AlertSettings, trusted: ssl.SSLContext) -> None:
        self._settings = settings
        self._trusted = trusted
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._said = ""
        self.counts: Counter[str] = Counter(sent=0, failed=0, dropped=0)
        """`failed` was tried as often as is set or refused for good, `dropped` never tried, for too
        much was waiting."""

    def tell(self, body: bytes) -> None:
        """Have it sent; where too much waits, the oldest is dropped."""
        while len(self._waiting) >= self._settings.webhook_waiting_max:
            self._waiting.popleft()
            self.counts["dropped"] += 1
        self._waiting.append(body)
        self._woken.set()

    async def run(self) -> NoReturn:
        """Send what waits, one after the other."""
        import httpx  # 10 MB and 0.1 s that nobody else needs

        # Its own timeout is of each part of an exchange, ours of the whole.
        async with httpx.AsyncClient(
            verify=self._trusted,
            trust_env=False,
            timeout=None,  # noqa: S113 - see above
        ) as client:
            while True:
                while self._waiting:
                    await self._deliver(client, self._waiting.popleft())
                self._woken.clear()
                await self._woken.wait()

    async def _deliver(self, client: httpx.AsyncClient, body: bytes) -> None:
        """Until it is taken, or refused, or was tried often enough."""
        settings = self._settings
        wait_s, why = settings.webhook_retry_s_first, ""
        for left in reversed(range(settings.webhook_tries_max)):
            status, why = await self._post(client, body)
            if 200 <= status < 300:
                self.counts["sent"] += 1
                self._say("")
                return
            if not left or status not in AGAIN:
                break
            self._say(why)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, settings.webhook_retry_s_max)
        self.counts["failed"] += 1
        self._say(why)

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> tuple[int, str]:
        """The status, or `NO_ANSWER`; and what was wrong, for a person."""
        import httpx

        secret = self._settings.webhook_secret.encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}",
        }
        url = self._settings.webhook
        try:
            async with (
                asyncio.timeout(self._settings.webhook_timeout_s),
                client.stream("POST", url, content=body, headers=headers) as answer,
            ):  # what it says besides the status is not read
                return answer.status_code, f"it answered {answer.status_code}"
        except TimeoutError:
            return NO_ANSWER, f"it did not answer within {self._settings.webhook_timeout_s:g} s"
        except (httpx.HTTPError, OSError) as error:
            return NO_ANSWER, str(error) or type(error).__name__

    def _say(self, why: str) -> None:
        """Once for each reason, however often it is tried; without the address, often a secret."""
        if why and why != self._said:
            log.warning("alerts' webhook: %s", why)
        elif self._said and not why:
            log.warning("alerts' webhook takes them again")
        self._said = why


def open_webhook(settings: AlertSettings) -> Webhook | None:
    """The receiver that is set; None = nobody.

    Raises:
        OperatorFault: the setting names none, or has no secret to sign with.
    """
    if not settings.webhook:
        return None
    import httpx

    try:
        url = httpx.URL(settings.webhook)
        is_address = bool(url.host) and (url.port or 0) <= PORT_MAX
    except (httpx.InvalidURL, UnicodeError):  # the latter of a name that is no IDNA
        url, is_address = httpx.URL(), False
    if url.scheme not in ("http", "https") or not is_address:
        raise OperatorFault("setting alerts.webhook must be http://host[:port]/path, or https://…")
    if len(settings.webhook_secret) < SECRET_LETTERS_MIN:
        raise OperatorFault(
            f"setting alerts.webhook_secret must have at least {SECRET_LETTERS_MIN} characters, by "
            "which the receiver knows that it is the hub that speaks: 'openssl rand -hex 32' makes "
            "one, SHEEPFOLD__ALERTS__WEBHOOK_SECRET gives it"
        )
    try:
        trusted = ssl.create_default_context(cafile=settings.webhook_ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise OperatorFault(
            f"setting alerts.webhook_ca_file = {settings.webhook_ca_file!r} can't be used: {error}"
        ) from error
    return Webhook(settings, trusted)
