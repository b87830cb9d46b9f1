"""The webhook, at a real server on loopback that checks who speaks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from hub.alerts.webhook import Webhook, open_webhook
from hub.errors import OperatorFault
from hub.settings import AlertSettings
from tests.acceptance.certificates import Authority
from tests.alerts.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

WAIT_S = 20.0


@contextlib.asynccontextmanager
async def told(url: str, **settings: Any) -> AsyncIterator[Webhook]:
    """A webhook that runs, with short waits."""
    given: dict[str, Any] = {
        "webhook_secret": SECRET,
        "webhook_retry_s_first": 0.01,
        "webhook_retry_s_max": 0.02,
        "webhook_timeout_s": 5.0,
    }
    webhook = open_webhook(AlertSettings(webhook=url, **(given | settings)))
    assert webhook is not None
    running = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def become(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - another thread makes it so
            await asyncio.sleep(0.005)


def counts(webhook: Webhook, **expected: int) -> Callable[[], bool]:
    return lambda: all(webhook.counts[name] == count for name, count in expected.items())


async def test_what_is_told_arrives_in_order_with_its_signature() -> None:
    with Receiver() as receiver:
        async with told(receiver.url) as webhook:
            for number in range(5):
                webhook.tell(b'{"seq":%d}' % number)
            await become(counts(webhook, sent=5))
    assert receiver.bodies == [b'{"seq":%d}' % number for number in range(5)]
    assert receiver.forged == 0


async def test_another_secret_is_noticed_by_the_receiver() -> None:
    with Receiver() as receiver:
        async with told(receiver.url, webhook_secret="another secret of some length") as webhook:
            webhook.tell(b"{}")
            await become(counts(webhook, failed=1))
    assert (receiver.bodies, receiver.forged) == ([], 1)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_receiver_that_is_busy_is_told_again(status: int) -> None:
    with Receiver(answers=[status, status]) as receiver:
        async with told(receiver.url) as webhook:
            webhook.tell(b"{}")
            await become(counts(webhook, sent=1))
    assert receiver.bodies == [b"{}"] * 3


@pytest.mark.parametrize("status", [301, 400, 403, 410])
async def test_one_that_refuses_for_good_is_not_asked_twice(status: int) -> None:
    with Receiver(answers=[status]) as receiver:
        async with told(receiver.url) as webhook:
            webhook.tell(b"1")
            webhook.tell(b"2")
            await become(counts(webhook, failed=1, sent=1))
    assert receiver.bodies == [b"1", b"2"]


async def test_a_receiver_that_is_not_there_costs_some_tries_and_a_count() -> None:
    with Receiver() as receiver:
        url = receiver.url
    async with told(url, webhook_tries_max=3) as webhook:
        webhook.tell(b"{}")
        await become(counts(webhook, failed=1, sent=0))


async def test_one_that_never_answers_is_left_after_the_timeout() -> None:
    with Receiver(mute=True) as receiver:
        async with told(receiver.url, webhook_timeout_s=0.05, webhook_tries_max=2) as webhook:
            webhook.tell(b"{}")
            await become(counts(webhook, failed=1))


async def test_the_oldest_is_dropped_when_too_much_waits() -> None:
    with Receiver() as receiver:
        settings = AlertSettings(webhook=receiver.url, webhook_secret=SECRET, webhook_waiting_max=2)
        webhook = open_webhook(settings)
        assert webhook is not None
        for number in range(5):
            webhook.tell(b"%d" % number)
        running = asyncio.create_task(webhook.run())
        await become(counts(webhook, sent=2, dropped=3))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert receiver.bodies == [b"3", b"4"]


def test_without_an_address_nobody_is_told() -> None:
    assert open_webhook(AlertSettings()) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"webhook": "ftp://host/"}, "https://"),
        ({"webhook": "https://"}, "https://"),
        ({"webhook": "host/path"}, "https://"),
        ({"webhook": "http://[::"}, "https://"),
        ({"webhook": "http://host:99999999/"}, "https://"),
        ({"webhook": "http://a\x00b/"}, "https://"),
        ({"webhook": "http://xn--a/"}, "https://"),
        ({"webhook": "https://host/", "webhook_secret": "short"}, "openssl rand"),
        ({"webhook": "https://host/", "webhook_ca_file": "no/such/file"}, "webhook_ca_file"),
    ],
)
async def test_a_setting_that_can_t_be_is_refused_at_the_start(
    settings: dict[str, str], said: str
) -> None:
    with pytest.raises(OperatorFault, match=said):
        open_webhook(AlertSettings(**({"webhook_secret": SECRET} | settings)))  # type: ignore[arg-type]  # texts all


async def test_a_receiver_is_known_by_the_certificate_that_is_set(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Receiver(certificate=authority.sign("receiver")) as receiver:
        async with told(receiver.url, webhook_ca_file=str(authority.file)) as webhook:
            webhook.tell(b"{}")
            await become(counts(webhook, sent=1))
        async with told(receiver.url, webhook_tries_max=1) as stranger:
            stranger.tell(b"{}")
            await become(counts(stranger, failed=1))
    assert receiver.bodies == [b"{}"]
