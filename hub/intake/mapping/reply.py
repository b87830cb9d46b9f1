"""Answers a legacy device: the action in its own words, on its own topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hub.intake.mapping.topics import ANYBODY

if TYPE_CHECKING:
    from hub.errors import DeviceFault
    from hub.intake.mapping.bound import Heard
    from hub.intake.mapping.command import Say
    from hub.step import Reply
    from hub.words import Answer

Publish = Callable[[str, bytes], None]
"""Topic and payload, to the device."""


def in_own_words(heard: Heard, device: str, reply: Reply, publish: Publish) -> Reply:
    """The reply to an observation: as `reply`, but for the action, if the mapping has words for it.

    `device`: its id, where the topic did not name it.
    """
    spelled = device if heard.spelled == ANYBODY else heard.spelled
    topic, say = heard.bound.command_topic(spelled), heard.bound.say
    return reply if topic is None or say is None else _OwnWords(reply, topic, say, publish)


class _OwnWords:
    """A `hub.step.Reply`."""

    __slots__ = ("_publish", "_reply", "_say", "_topic")

    def __init__(self, reply: Reply, topic: str, say: Say, publish: Publish) -> None:
        self._reply = reply
        self._topic = topic
        self._say = say
        self._publish = publish

    def durable(self, seq: int) -> None:
        """On disk."""
        self._reply.durable(seq)

    def act(self, answer: Answer) -> None:
        """Tell the action; after the end of an episode there is none, and nothing is said."""
        if answer.action is not None:
            self._publish(self._topic, self._say(answer.action))

    def warn(self, fault: DeviceFault) -> None:
        """On `err`, for whoever looks there."""
        self._reply.warn(fault)

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """As natively."""
        self._reply.refuse(fault, acknowledge=acknowledge)
