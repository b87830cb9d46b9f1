"""CartPole-v1 as devices of an external agent, for as long as a test needs them.

with Carts(hub, key, "c-1", "c-2") as carts: …
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Self

import gymnasium

from tests.acceptance.devices import Http, bearer

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

RETRY_S: Final = 0.05
BOOT: Final = 1


class Carts:
    """A thread for each; they repeat what was not answered, also when the hub was away."""

    def __init__(self, hub: RealHub, key: str, *devices: str) -> None:
        self._carts = [Cart(hub.ready.http, key, device) for device in devices]

    def __enter__(self) -> Self:
        for cart in self._carts:
            cart.start()
        return self

    def __exit__(self, *_: object) -> None:
        for cart in self._carts:
            cart.stop()

    def done(self, device: str) -> list[int]:
        """What it did, in order."""
        return next(cart.actions for cart in self._carts if cart.name == device)


class Cart(threading.Thread):
    """One device."""

    def __init__(self, port: int, key: str, device: str) -> None:
        super().__init__(name=device, daemon=True)
        self.actions: list[int] = []
        self._port = port
        self._key = key
        self._stopping = threading.Event()
        self._http = Http(port)

    def run(self) -> None:
        env = gymnasium.make("CartPole-v1")
        step = 0
        while not self._stopping.is_set():
            seen, _ = env.reset(seed=step)
            action = self._exchange({"s": step, "o": seen.tolist()})
            while action is not None:
                step += 1
                self.actions.append(action)
                seen, reward, over, cut, _ = env.step(action)
                ends = {"d": int(over), "tr": int(cut and not over)}
                action = self._exchange({"s": step, "o": seen.tolist(), "r": float(reward)} | ends)
            step += 1

    def stop(self) -> None:
        """It may be waiting for an action: hang up."""
        self._stopping.set()
        self._http.close()

    def _exchange(self, said: dict[str, Any]) -> Any:
        """Its action; None when the episode is over, or the test is."""
        while not self._stopping.is_set():
            try:
                document = {"device": self.name, "b": BOOT, **said}
                status, answer = self._http.ask("POST", "/v1/step", document, bearer(self._key))
            except Exception:  # noqa: BLE001 - whatever http.client makes of a hub that was killed
                self._http.close()
                status, answer = 0, None
            if status == 200:
                return answer["a"]
            self._stopping.wait(RETRY_S)
        return None
