"""What a remote learner asks about devices, and what the answers mean, for one device or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from hub import spaces
from hub.errors import OperatorFault
from hub.payloads import TAKEN_OVER
from hub.remote.errors import RemoteFault
from hub.remote.link import NO_DEVICE
from hub.remote.spaces import action_of, gym_space, value_of

if TYPE_CHECKING:
    import gymnasium

    from hub.remote.address import Address
    from hub.remote.link import Link

    Shown = dict[str, Any]
    """`observation`, `reward`, `terminated`, `truncated` and `info`, as the hub sends them."""

RESET: Final[dict[str, Any]] = {"env": "reset"}
NOT_SHOWN: Final = "step"
"""Code of a refusal: the hub has shown nothing, or something else, since it was asked last."""


class Described(Struct, frozen=True):
    """An agent's spaces and those of its devices that are meant."""

    observation_space: gymnasium.spaces.Space[Any]
    action_space: gymnasium.spaces.Space[Any]
    devices: tuple[str, ...]


def describe(link: Link, address: Address) -> Described:
    """Ask the hub what the agent's devices see and do; the link is closed when that fails.

    Raises:
        RemoteFault: the key is another agent's, or there is no device.
    """
    try:
        return _described(link, address)
    except BaseException:
        link.close()
        raise


def _described(link: Link, address: Address) -> Described:
    told = checked(link.exchange({NO_DEVICE: {"env": "spaces"}})[NO_DEVICE], NO_DEVICE)
    if told["agent"] != address.agent:
        raise RemoteFault(f"the key is of agent {told['agent']!r}, not {address.agent!r}")
    devices = address.devices or tuple(told["devices"])
    if not devices:
        raise RemoteFault(f"agent {address.agent!r} has no device yet; name them: ?devices=a,b")
    try:
        observations = gym_space(spaces.parse(told["observations"]))
        actions = gym_space(spaces.parse(told["actions"]))
    except OperatorFault as error:
        raise RemoteFault(f"agent {address.agent!r} has spaces unknown here: {error}") from error
    return Described(observations, actions, devices)


class Devices:
    """Devices as environments, without the form of any library: what was seen last of each."""

    def __init__(self, link: Link, described: Described) -> None:
        self._link = link
        self._described = described
        self._seqs: dict[str, int] = {}
        """Of the observation that each device's next action is for."""

    def reset(self, *devices: str) -> dict[str, Shown]:
        """The observation that each device's next action is for."""
        return self.ask(dict.fromkeys(devices, RESET))

    def act(self, device: str, action: Any) -> dict[str, Any]:
        """The question that has the device act on what it was seen with last."""
        return {"env": "step", "action": action_of(action), "seq": self._seqs.get(device)}

    def ask(self, asked: dict[str, dict[str, Any]]) -> dict[str, Shown]:
        """What each device shows now.

        A step that the hub can't join to what it showed, as after its restart, becomes a reset: it
        comes back truncated and without a reward.

        Raises:
            RemoteFault: an action that is none, or another learner took the device over.
        """
        answers = self._link.exchange(asked)
        lost = {device for device, answer in answers.items() if _is_lost(answer)}
        if lost:
            answers |= self._link.exchange(dict.fromkeys(lost, RESET))
        for device, answer in answers.items():
            checked(answer, device)
            self._seqs[device] = answer["info"]["sheepfold"]["seq"]
            answer["observation"] = value_of(
                self._described.observation_space, answer["observation"]
            )
            if device in lost and asked[device] is not RESET:
                answer["truncated"] = True
        return answers


def checked(answer: dict[str, Any], device: str) -> dict[str, Any]:
    """The answer, unless it is a refusal.

    Raises:
        RemoteFault: it is one.
    """
    if "detail" in answer:
        raise RemoteFault(answer["detail"], code=str(answer.get("code", "")), device=device)
    return answer


def _is_lost(answer: dict[str, Any]) -> bool:
    return answer.get("code") == NOT_SHOWN and TAKEN_OVER not in str(answer.get("detail"))
