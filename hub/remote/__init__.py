"""A hub's devices as Gymnasium environments, for a learner of your own on any machine.

    env = make("sheepfold://KEY@hub.local:8000/arm?devices=cart-1")
    envs = make_vec("sheepfold://KEY@hub.local:8000/arm?devices=cart-1,cart-2")

It imports Gymnasium and numpy and none of the hub's rooms; `hub.remote.sb3` needs
Stable-Baselines3 beside them. All devices share one WebSocket, on which the hub answers in whatever
order the devices do.
"""

from hub.remote.address import Address
from hub.remote.env import RemoteEnv, make
from hub.remote.errors import DeviceSilent, HubUnreachable, RemoteFault
from hub.remote.vector import RemoteVectorEnv, make_vec

__all__ = [
    "make", "make_vec", "RemoteEnv", "RemoteVectorEnv",
    "Address", "RemoteFault", "HubUnreachable", "DeviceSilent",
]  # fmt: skip
