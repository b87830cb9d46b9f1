"""Several devices of one agent as a `gymnasium.vector.VectorEnv`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from hub.remote.address import Address
from hub.remote.device import RESET, Devices, describe
from hub.remote.env import TIMEOUT_S
from hub.remote.errors import RemoteFault
from hub.remote.link import Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Infos = dict[str, Any]


def make_vec(
    address: str,
    *,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    timeout_s: float | None = TIMEOUT_S,
) -> RemoteVectorEnv:
    """The devices at `sheepfold://KEY@HOST:PORT/AGENT?devices=a,b`, all there are without a list.

    Raises:
        RemoteFault: no such address, key or agent, or no device.
    """
    return RemoteVectorEnv(
        Address.parse(address), autoreset_mode=autoreset_mode, timeout_s=timeout_s
    )


class RemoteVectorEnv(VectorEnv[Any, Any, Any]):
    """Devices of an external agent, each at its own pace; a step is over when all have answered.

    Args:
        address: of the devices; they are numbered in its order.
        autoreset_mode: what a step does with a device whose episode is over, as Gymnasium has it.
        timeout_s: how long the slowest may take to send its next observation; None = for ever.
    """

    def __init__(
        self,
        address: Address,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        timeout_s: float | None = TIMEOUT_S,
    ) -> None:
        self._link = Link(address, timeout_s)
        described = describe(self._link, address)
        self.devices = described.devices
        self.num_envs = len(described.devices)
        self.metadata = {"render_modes": [], "autoreset_mode": autoreset_mode}
        self.single_observation_space = described.observation_space
        self.single_action_space = described.action_space
        self.observation_space = batch_space(described.observation_space, self.num_envs)
        self.action_space = batch_space(described.action_space, self.num_envs)
        self._mode = autoreset_mode
        self._devices = Devices(self._link, described)
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        """Whose episode ended with the step before."""
        self._observations: list[Any] = [None] * self.num_envs

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, Infos]:
        """What each device's next action is for; waits until all have sent it.

        Args:
            seed: of this object's own random numbers; a device has none.
            options: `reset_mask`, bool (num_envs,): only these; the others stay as they are.

        Raises:
            RemoteFault: as `step`.
        """
        super().reset(seed=seed if isinstance(seed, int | None) else None)
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"], dtype=np.bool_)
        if mask.shape != (self.num_envs,) or not mask.any():
            raise RemoteFault(f"reset_mask is {self.num_envs} bools, at least one of them true")
        shown = self._devices.reset(*(self.devices[i] for i in np.flatnonzero(mask)))
        self._over &= ~mask
        infos = self._take(shown)
        return self._batch(self._observations), infos

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], Bools, Bools, Infos]:
        """Have all devices act, and wait for what they see then.

        Raises:
            DeviceSilent: one sent nothing in time.
            HubUnreachable: there is no hub.
            RemoteFault: an action is none, an episode is over and nothing resets it, or another
                learner took a device over.
        """
        if self._mode is AutoresetMode.DISABLED and self._over.any():
            over = ", ".join(self.devices[i] for i in np.flatnonzero(self._over))
            raise RemoteFault(f"the episode is over of {over}; reset them first")
        asked = {
            device: RESET if over else self._devices.act(device, action)
            for device, action, over in zip(self.devices, actions, self._over, strict=True)
        }
        seen = self._devices.ask(asked)
        rewards = np.array([seen[device]["reward"] for device in self.devices])
        terminated = np.array([seen[device]["terminated"] for device in self.devices])
        truncated = np.array([seen[device]["truncated"] for device in self.devices])
        rewards[self._over] = 0.0  # of what a reset shows, as none of this belongs to a step
        terminated[self._over] = truncated[self._over] = False
        infos = self._take(seen)
        self._over = terminated | truncated
        if self._mode is AutoresetMode.SAME_STEP and self._over.any():
            infos = self._go_on(seen, infos)
        return self._batch(self._observations), rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the devices; each waits for whoever comes next."""
        del kwargs
        self._link.close()

    def _go_on(self, seen: dict[str, dict[str, Any]], infos: Infos) -> Infos:
        """Reset in the same step whose episode is over; what ended it goes into the infos."""
        over, final = self._over, np.full(self.num_envs, None, dtype=object)
        final_info = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(over):
            final[i] = seen[self.devices[i]]["observation"]
            final_info[i] = seen[self.devices[i]]["info"]
        began = self._take(self._devices.reset(*(self.devices[i] for i in np.flatnonzero(over))))
        infos["info"][over] = began["info"][over]
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        ends = {"final_obs": final, "_final_obs": over, "final_info": final_info}
        return infos | ends | {"_final_info": over}

    def _take(self, shown: dict[str, dict[str, Any]]) -> Infos:
        """Keep what was shown; the devices' infos, of any shape, by their number."""
        infos = np.full(self.num_envs, None, dtype=object)
        for i, device in enumerate(self.devices):
            if device in shown:
                self._observations[i] = shown[device]["observation"]
                infos[i] = shown[device]["info"]
        present = np.array([device in shown for device in self.devices])
        return {"info": infos, "_info": present}

    def _batch(self, observations: list[Any]) -> Any:
        if any(observation is None for observation in observations):
            raise RemoteFault("some devices were never reset; reset all of them first")
        space = self.single_observation_space
        empty = create_empty_array(space, self.num_envs)
        assert empty is not None, "these spaces have values"
        return concatenate(space, observations, empty)
