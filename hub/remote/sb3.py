"""Several devices as a `VecEnv`, for a learner of Stable-Baselines3 that is not the hub's.

envs = RemoteVecEnv("sheepfold://KEY@hub.local:8000/arm?devices=cart-1,cart-2")
DQN("MlpPolicy", envs).learn(10_000)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from hub.remote.env import TIMEOUT_S
from hub.remote.vector import make_vec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gymnasium
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class RemoteVecEnv(VecEnv):
    """`RemoteVectorEnv` in the form of Stable-Baselines3: a finished device is reset at once.

    Raises:
        RemoteFault: as `make_vec`; later, as `RemoteVectorEnv.step`.
    """

    def __init__(self, address: str, *, timeout_s: float | None = TIMEOUT_S) -> None:
        self.vector = make_vec(address, autoreset_mode=AutoresetMode.SAME_STEP, timeout_s=timeout_s)
        self._actions: Any = None
        super().__init__(
            self.vector.num_envs,
            self.vector.single_observation_space,
            self.vector.single_action_space,
        )

    def reset(self) -> Any:
        """The observations that the next actions are for."""
        observations, infos = self.vector.reset()
        self.reset_infos = list(infos["info"])
        return observations

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Act; an info of an ended episode has its `terminal_observation`."""
        observations, rewards, terminated, truncated, infos = self.vector.step(self._actions)
        told: list[dict[str, Any]] = [dict(info) for info in infos["info"]]
        for i in np.flatnonzero(terminated | truncated):
            told[i] = dict(infos["final_info"][i])
            told[i]["terminal_observation"] = infos["final_obs"][i]
            told[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observations, rewards.astype(np.float32), terminated | truncated, told

    def close(self) -> None:
        """Let go of the devices."""
        self.vector.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for all: they are devices, not objects."""
        return [getattr(self.vector, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not possible: they are devices."""
        del indices
        raise AttributeError(f"a device has no attribute {attr_name!r} to set to {value!r}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not possible: they are devices."""
        del method_args, indices, method_kwargs
        raise AttributeError(f"a device has no method {method_name!r}")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """No: a wrapper would be around all of them."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """A device has no seed."""
        del seed
        return [None for _ in range(self.num_envs)]
