"""An adviser that is no hub: any client of the broker can be one, and may be wrong in any way.

with Expert(broker.port, "cart", observations, actions) as expert:
    expert.says = no_help()      # from now on
"""

from __future__ import annotations

import itertools
import select
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from hub.mqtt_meeting import BrokerLink
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_S_MAX: Final = 10.0
LOOK_S: Final = 0.2
"""At whether it is to stop."""
SURE: Final = 20.0
"""Logits that leave a replica little choice."""


def balancing(question: dict[str, Any]) -> bytes:
    """The cart is pushed to where the pole falls, and leans back to the middle a little."""
    x, x_dot, angle, angle_dot = question["o"]
    right = angle + 0.5 * angle_dot + 0.02 * x + 0.04 * x_dot > 0
    return _answer(question, [0.0, SURE] if right else [SURE, 0.0])


def no_help() -> Callable[[dict[str, Any]], bytes | None]:
    """As many numbers as nobody wants, then what JSON does not have, then nothing; and again."""
    kinds = itertools.cycle(("[1.0,2.0,3.0]", "[NaN,1.0]", None))

    def says(question: dict[str, Any]) -> bytes | None:
        advice = next(kinds)
        if advice is None:
            return None
        return f'{{"id":"{question["id"]}","advice":{advice}}}'.encode()

    return says


def _answer(question: dict[str, Any], advice: list[float]) -> bytes:
    return msgspec.json.encode({"id": question["id"], "advice": advice})


class Expert(threading.Thread):
    """One that has said it answers."""

    def __init__(self, port: int, agent: str, observations: Any, actions: Any) -> None:
        super().__init__(name="expert", daemon=True)
        self.says: Callable[[dict[str, Any]], bytes | None] = balancing
        self.asked = 0
        self._tree = f"rl/v1/agents/{agent}"
        self._here = msgspec.json.encode({"observations": observations, "actions": actions})
        self._link = BrokerLink("expert", HOST, port)
        self._stopping = threading.Event()
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._link.open()
        self._link.subscribe(f"{self._tree}/ask/expert")
        self._link.publish(f"{self._tree}/adviser/expert", self._here, retain=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(STOP_S_MAX)
        self._link.close()
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        """Answer."""
        try:
            while not self._stopping.is_set():
                for _, payload in self._link.receive():
                    self._answer(msgspec.json.decode(payload))
                select.select([self._link], [], [], LOOK_S)
        except Exception as error:  # noqa: BLE001 - a thread's error belongs to its test
            self._failure = error

    def _answer(self, question: dict[str, Any]) -> None:
        self.asked += 1
        answer = self.says(question)
        if answer is not None:
            self._link.publish(f"{self._tree}/answer/{question['hub']}", answer)
