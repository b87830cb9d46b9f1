"""What people may have a device do, by whatever broker they say it: learn or not, reset, a reward.

Learning is a switch of the agent: its devices learn one policy together, and what one of them sees
either goes into it or does not. Whoever switches it by one device's topic switches it for all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import DeviceFault
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.registry.fold import Registry
    from hub.words import Answer, DeviceId

    SwitchLearning = Callable[[str, bool, str], Awaitable[object]]
    """Agent, on, who; done when the log has it."""

SWITCH: Final = {b"ON": True, b"OFF": False}


class PersonReward(msgspec.Struct):
    """The payload of `reward`."""

    r: float


_reward: Final = msgspec.json.Decoder(PersonReward)


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
        switch_learning: SwitchLearning,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._receiver = receiver
        self._switch_learning = switch_learning

    async def carry_out(self, who: str, device: DeviceId, leaf: str, payload: bytes) -> None:
        """`cmd/learn`, `cmd/reset` or `reward`; in the log when it returns.

        Raises:
            DeviceFault: the payload is no such command, or nothing can be made durable now.
            OperatorFault: the agent can't be changed.
        """
        agent = self._registry.devices[device]
        if leaf == "cmd/learn":
            on = SWITCH.get(payload.strip().upper())
            if on is None:
                raise DeviceFault(Code.PAYLOAD, "cmd/learn is ON or OFF")
            await self._switch_learning(agent, on, who)
            return
        session = self._sessions.standing(device, agent)
        if leaf == "cmd/reset":
            await self._reset(session)
        else:
            reply = _Durable()
            self._receiver.reward(session, read_reward(payload), reply)
            await reply.done

    async def _reset(self, session: Session) -> None:
        if session.device.episode is None:
            return
        durable: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def committed(seq: int) -> None:
            if not durable.done():
                durable.set_result(seq)

        self._receiver.reset(session, committed)
        await durable


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
