"""One device as a `gymnasium.Env`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, SupportsFloat

import gymnasium
from gymnasium.envs.registration import EnvSpec

from hub.remote.address import Address
from hub.remote.device import Devices, describe
from hub.remote.errors import RemoteFault
from hub.remote.link import Link

TIMEOUT_S: Final = 60.0
"""How long a device may take to send its next observation, unless it is said."""

if TYPE_CHECKING:
    Info = dict[str, Any]


def make(address: str, *, timeout_s: float | None = TIMEOUT_S) -> RemoteEnv:
    """The device at `sheepfold://KEY@HOST:PORT/AGENT?devices=DEVICE`.

    Raises:
        RemoteFault: no such address, key or agent, or not one device.
    """
    return RemoteEnv(Address.parse(address), timeout_s=timeout_s)


class RemoteEnv(gymnasium.Env[Any, Any]):
    """A device of an external agent; it can't be put back, so `reset` goes on from where it is.

    Args:
        address: of exactly one device.
        timeout_s: how long it may take to send its next observation; None = for ever.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, address: Address, *, timeout_s: float | None = TIMEOUT_S) -> None:
        self._link = Link(address, timeout_s)
        described = describe(self._link, address)
        if len(described.devices) != 1:
            self._link.close()
            named = ", ".join(described.devices)
            raise RemoteFault(f"one environment is one device, not {named}; make_vec has several")
        self.device = described.devices[0]
        self.observation_space = described.observation_space
        self.action_space = described.action_space
        self._devices = Devices(self._link, described)
        # Whoever checks environments is to know that the same action is not the same twice. It says
        # nothing of how to make it again: the key would stand in whatever prints it.
        self.spec = EnvSpec("sheepfold/Device-v0", nondeterministic=True)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """The observation that the next action is for; waits until there is one.

        Raises:
            RemoteFault: as `step`.
        """
        super().reset(seed=seed)
        del options  # a device takes none
        shown = self._devices.reset(self.device)[self.device]
        return shown["observation"], shown["info"]

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Have the device act, and wait for what it sees then.

        Raises:
            DeviceSilent: it sent nothing in time.
            HubUnreachable: there is no hub.
            RemoteFault: the action is none, or another learner took the device over.
        """
        asked = {self.device: self._devices.act(self.device, action)}
        seen = self._devices.ask(asked)[self.device]
        ends = seen["terminated"], seen["truncated"]
        return seen["observation"], seen["reward"], *ends, seen["info"]

    def close(self) -> None:
        """Let go of the device; it waits for whoever comes next."""
        self._link.close()
