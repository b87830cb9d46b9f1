"""Topics of legacy devices: which are a mapping's, and which device one is of.

pattern = compile_topic("tele/{device}/SENSOR")
pattern.filter                          # tele/+/SENSOR
pattern.match("tele/kitchen/SENSOR")    # "kitchen"
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from hub.errors import OperatorFault

DEVICE: Final = "{device}"
ANYBODY: Final = ""
"""A topic that names no device."""
TOPIC_MAX: Final = 256
"""Characters."""


class Pattern(Struct, frozen=True):
    """The topics that a mapping hears."""

    filter: str
    """For a SUBSCRIBE."""
    expression: re.Pattern[str]

    def match(self, topic: str) -> str | None:
        """What stands for the device, as it is spelled; `ANYBODY` where nothing does; else None."""
        found = self.expression.fullmatch(topic)
        if found is None:
            return None
        return found["device"] if "device" in self.expression.groupindex else ANYBODY


def compile_topic(topic: str) -> Pattern:
    """The pattern a topic of a mapping means.

    Raises:
        OperatorFault: it can't be one (MQTT 3.1.1, 4.7.1).
    """
    levels = topic.split("/")
    parts = []
    for i, level in enumerate(levels):
        if level == DEVICE:
            parts.append("(?P<device>[^/]+)")
        elif level == "+":
            parts.append("[^/]*")
        elif level == "#" and i == len(levels) - 1:
            parts.append(".*")
        else:
            _check_level(level, topic)
            parts.append(re.escape(level))
    if not topic or len(topic) > TOPIC_MAX or levels.count(DEVICE) > 1:
        raise OperatorFault(
            f"topic {topic!r:.300} has 1 to {TOPIC_MAX} characters, and {DEVICE} at most once"
        )
    filter_ = "/".join("+" if level == DEVICE else level for level in levels)
    return Pattern(filter_, re.compile("/".join(parts), re.DOTALL))


def check_command(topic: str) -> None:
    """Refuse a topic that nothing can be published to.

    Raises:
        OperatorFault: with the reason.
    """
    if "#" in topic or "+" in topic:
        raise OperatorFault(f"action: topic {topic!r:.300} is published to; it has no + and no #")
    compile_topic(topic)


def _check_level(level: str, topic: str) -> None:
    if any(character in level for character in "#+{}\0"):
        raise OperatorFault(
            f"topic {topic!r:.300}: {DEVICE} and + stand alone between slashes, # alone at the end"
        )
