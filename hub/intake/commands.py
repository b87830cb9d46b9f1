"""What people may have a device do, by whatever broker they say it.

It learns or not, begins anew, is rewarded, or does what they choose for it.

Learning is a switch of the agent: its devices learn one policy together, and what one of them sees
either goes into it or does not. Whoever switches it by one device's topic switches it for all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import DeviceFault, OperatorFault
from hub.payloads import Reward
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.intake.overrides import Overrides
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.words import Answer, DeviceId, Packet

    SwitchLearning = Callable[[str, bool, str], Awaitable[object]]
    """Agent, on, who; done when the log has it."""

SWITCH: Final = {b"ON": True, b"OFF": False}


_reward: Final = msgspec.json.Decoder(Reward)


def read_reward(payload: bytes) -> float:
    """The number a person gives.

    Raises:
        DeviceFault: `payload` or `type`, there is none.
    """
    try:
        return _reward.decode(payload).r
    except msgspec.ValidationError as error:
        raise DeviceFault(Code.TYPE, f"reward: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"reward: not JSON: {error}") from error


class Commands:
    """Carries them out; whether the person may is asked before."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        receiver: Receiver,
        overrides: Overrides,
        switch_learning: SwitchLearning,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._receiver = receiver
        self._overrides = overrides
        self._switch_learning = switch_learning

    async def carry_out(
        self,
        who: str,
        device: DeviceId,
        leaf: str,
        payload: bytes,
        *,
        packet: Packet | None = None,
        duplicate: bool = False,
    ) -> None:
        """What stands below `cmd`, or `reward`; in the log, under `who`, when it returns.

        `packet` and `duplicate` tell what is sent again, a reward or a reset.

        Raises:
            DeviceFault: the payload is no such command, which the log has by then, or nothing can
                be made durable now.
            OperatorFault: the agent can't be changed, or the device was forgotten meanwhile.
        """
        agent = self._registry.devices.get(device)
        if agent is None:
            raise OperatorFault(f"device {device!r} was forgotten")
        if leaf == "cmd/learn" and (on := SWITCH.get(payload.strip().upper())) is not None:
            await self._switch_learning(agent, on, who)
            return
        session, reply = self._sessions.standing(device, agent), _Durable()
        try:
            if leaf == "cmd/learn":
                raise DeviceFault(Code.PAYLOAD, "cmd/learn is ON or OFF")
            if leaf == "cmd/reset":
                self._receiver.reset(
                    session, reply.durable, by=who, packet=packet, duplicate=duplicate
                )
            elif leaf == "cmd/override":
                self._overrides.take(session, payload, reply.durable, by=who)
            else:
                reward = read_reward(payload)
                self._receiver.reward(
                    session, reward, reply, by=who, packet=packet, duplicate=duplicate
                )
        except DeviceFault as fault:
            said = DeviceFault(fault.code, f"{who}: {fault.message}")
            self._receiver.refuse(session, said, reply)
        await reply.done


class _Durable:
    """A `hub.step.Reply` to what needs no answer but that it is in the log."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def durable(self, seq: int) -> None:
        if not self.done.done():
            self.done.set_result(seq)

    def act(self, answer: Answer) -> None:
        """Nothing acts on it."""

    def warn(self, fault: DeviceFault) -> None:
        """There is nobody to be told."""

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        del acknowledge
        if not self.done.done():
            self.done.set_exception(fault)
