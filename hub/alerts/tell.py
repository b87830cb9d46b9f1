"""Whom an alert is told: subscribers, by a topic that retains it while it is open, and a webhook.

What was told and is over is taken back at the start as well: another broker keeps it while the hub
is away. And all is told again on a new connection: it may have lost what it kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.alerts.cause import Rule, Subject
from hub.alerts.standing import MICROSECONDS, Change
from hub.facts import AlertCleared, AlertRaised
from hub.payloads import AlertTold
from hub.topics import alert_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.alerts.standing import Standing
    from hub.alerts.webhook import Webhook


class Tell:
    """Tells what the log has.

    Args:
        base: first levels of every topic.
        hub_id: of the log, which may be opened later than this is made.
        announce: retains a payload on a topic; nothing forgets it.
        webhook: is sent what changes, and nothing a second time at the start.
    """

    def __init__(
        self,
        base: str,
        hub_id: Callable[[], str],
        announce: Callable[[str, bytes], None],
        webhook: Webhook | None,
    ) -> None:
        self._base = base
        self._hub_id = hub_id
        self._announce = announce
        self._webhook = webhook

    def started(self, standing: Standing, now_us: int) -> None:
        """Have the webhook know that a hub that may have told it so is not ready no more.

        It was told before the log had it, so a hub that ended then has left nothing of it.
        """
        subject = Subject(Rule.NOT_READY)
        if self._webhook is not None and subject not in standing.open:
            over = AlertCleared(subject.rule, "the hub was started; if it was not ready, it is now")
            self._webhook.tell(self._told(Change(subject, over), now_us, 0))

    def all(self, standing: Standing) -> None:
        """What is open, to who comes later; what was open, to nobody any more.

        That the hub was not ready it may have told and not logged; the rest is told when the log
        has it.
        """
        for subject in (*standing.over, Subject(Rule.NOT_READY)):
            if subject not in standing.open:
                self._announce(alert_topic(self._base, *subject), b"")
        for subject, alert in standing.open.items():
            if not alert.seq and subject.rule != Rule.NOT_READY:
                continue
            payload = self._told(Change(subject, alert.fact), alert.raised_us, alert.seq)
            self._announce(alert_topic(self._base, *subject), payload)

    def change(self, change: Change, at_us: int, seq: int) -> None:
        """It was raised, or is over; at this place in the log, 0 = it is not there yet."""
        is_raised = isinstance(change.fact, AlertRaised)
        payload = self._told(change, at_us, seq)
        self._announce(alert_topic(self._base, *change.subject), payload if is_raised else b"")
        if self._webhook is not None:
            self._webhook.tell(payload)

    def _told(self, change: Change, at_us: int, seq: int) -> bytes:
        subject, fact = change
        raised = fact if isinstance(fact, AlertRaised) else None
        return msgspec.json.encode(
            AlertTold(
                state="cleared" if raised is None else "raised",
                rule=subject.rule,
                says=fact.says,
                hub=self._hub_id(),
                ts=at_us // MICROSECONDS,
                agent=subject.agent,
                device=subject.device,
                do="" if raised is None else raised.do,
                since=0 if raised is None else raised.since // MICROSECONDS,
                figures={} if raised is None else raised.figures,
                seq=seq,
            )
        )
