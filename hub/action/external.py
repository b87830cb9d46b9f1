"""Agents of the algorithm `external`: a remote learner acts, the hub keeps order and the log.

    device ──step──▶ begin ──▶ deliver: logged and acknowledged at once, as every step
                      │  ▲
         observation  │  │  action
                      ▼  │
               reset, step ◀──HTTP── remote learner, to which the device is a Gymnasium environment

Rule 1: a remote learner is shown only what is durable.
Rule 2: it alone answers a step, for as long as it takes; the fallback does only if the agent was
    given a deadline, is paused, or the device went on without an answer.
Rule 3: it is never told that two observations followed each other which did not: then the episode
    is truncated, and `reset` shows the newest.
Rule 4: of two requests for one device the newest is answered; the other is told so.

A device can't be put back from afar: `reset` waits for the observation that its next action is for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hub.errors import DeviceFault
from hub.payloads import TAKEN_OVER
from hub.spaces import flatten
from hub.step import Choice
from hub.words import EXTERNAL, Code, Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hub.action.deliver import Actors, Deliver
    from hub.registry.fold import Spec
    from hub.step import Step
    from hub.words import AgentName, Answer

NEXT: Final = 1
"""How far apart two steps are that follow each other."""


class Seen:
    """A step as its remote learner gets to know it; one of the step's replies."""

    __slots__ = ("_durable", "answer", "begins", "reward", "step", "was_late")

    def __init__(self, step: Step, durable: Callable[[Seen], None]) -> None:
        self.step = step
        # What the log was given, a person's reward with it; restored steps say it themselves.
        event = step.events[step.observation_at] if step.events else None
        self.reward = step.observation.reward if event is None else event.reward
        self.begins = bool(event and event.first)
        """It follows nothing."""
        self.answer: Answer | None = None
        """None until the device was answered."""
        self.was_late = False
        """An action that came too late for it is in the log."""
        self._durable = durable

    def durable(self, seq: int) -> None:
        """From now on it may be shown."""
        del seq
        self._durable(self)

    def act(self, answer: Answer) -> None:
        """Whoever chose it."""
        self.answer = answer

    def warn(self, fault: DeviceFault) -> None:
        """For the device."""

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """For the device."""

    @property
    def waits(self) -> bool:
        """Its device waits for an action."""
        return not self.step.ends_episode and not self.step.chosen

    def follows(self, before: Seen) -> bool:
        """Whether nothing lies between the two."""
        return (
            not self.begins
            and self.step.boot == before.step.boot
            and self.step.number == before.step.number + NEXT
        )


class Seat:
    """One device's place at the table: what it said last, and who waits for it."""

    def __init__(self) -> None:
        self.newest: Seen | None = None
        """Durable."""
        self.shown: Seen | None = None
        """What the remote learner saw last."""
        self.begun: Seen | None = None
        """The newest of all, durable or not."""
        self.waiting: asyncio.Future[None] | None = None


class External:
    """Steps of external agents, between their devices and the remote learners.

    Args:
        actors: choose for all other agents.
        unanswered: a device's newest step, if the hub was restarted before it was answered.
    """

    def __init__(self, actors: Actors, unanswered: Callable[[str], Step | None]) -> None:
        self._actors = actors
        self._unanswered = unanswered
        self._seats: dict[tuple[AgentName, str], Seat] = {}
        self.deliver: Deliver | None = None
        """The action room; set once by the composition root, for the two need each other."""
        self._closing = False

    # --- the device's side -----------------------------------------------------------------------

    def begin(self, step: Step) -> None:
        """Take a placed step on, whoever acts for its agent."""
        assert self.deliver is not None, "the composition root sets it"
        if step.agent.agent.algorithm != EXTERNAL or step.chosen:
            self.deliver.begin(step)
            return
        seen = self._take(step)
        self.deliver.begin(step)
        self.deliver.log_alone(step)  # its learner is shown what is durable, and then acts
        if step.seq:  # since before a restart
            seen.durable(step.seq)

    def ask(self, step: Step) -> str | None:
        """An external agent's step has no actor: its answer comes by `step`."""
        if step.agent.agent.algorithm == EXTERNAL:
            return None
        return self._actors.ask(step)

    def _take(self, step: Step) -> Seen:
        assert self.deliver is not None, "the composition root sets it"
        seat = self._seats.setdefault((step.agent.agent.name, step.device.id), Seat())
        seen = Seen(step, lambda seen: self._show(seat, seen))
        before, seat.begun = seat.begun, seen
        if before is not None and before.waits and step.agent.agent.deadline_ms is None:
            # Its device did not wait; nor shall whatever else hangs on an answer.
            self.deliver.fall_back(before.step, "the device went on")
        step.replies.append(seen)
        return seen

    def close(self) -> None:
        """The hub is stopping: all who would wait for as long as it takes are told so."""
        assert self.deliver is not None, "the composition root sets it"
        self._closing = True
        for seat in self._seats.values():
            if seat.waiting is not None and not seat.waiting.done():
                seat.waiting.set_exception(_stopping())
            begun = seat.begun
            if begun is not None and begun.waits and begun.step.agent.agent.deadline_ms is None:
                self.deliver.put_off(begun.step)

    def _show(self, seat: Seat, seen: Seen) -> None:
        """The observation is durable: whoever waits may have it."""
        if seat.newest is not seen and seen is seat.begun:
            seat.newest = seen
            if seat.waiting is not None and not seat.waiting.done():
                seat.waiting.set_result(None)

    # --- the remote learner's side ---------------------------------------------------------------

    async def reset(self, spec: Spec, device: str) -> Seen:
        """The observation that the device's next action is for; waits until there is one.

        Raises:
            DeviceFault: `step` = another remote learner asked later; `busy` = the hub is stopping.
        """
        seat = self._seats.setdefault((spec.agent.name, device), self._seat(spec, device))
        while seat.newest is None or not seat.newest.waits:
            await self._changed(seat, spec, device)
        seat.shown = seat.newest
        return seat.newest

    async def step(
        self, spec: Spec, device: str, action: Any, by: str, *, seq: int | None = None
    ) -> tuple[Seen, Seen]:
        """Have the device act on the observation shown last, and wait for the next one.

        An action that comes too late, since the fallback was sent, is logged as such, the first.

        Args:
            spec: an external agent.
            device: one of its devices.
            action: of the agent's action space.
            by: who acts, for the log.
            seq: of the observation that the action is for; None = of the one shown last. So a
                request may be sent again when its answer was lost.

        Returns:
            The observation acted on, and the newest after it.

        Raises:
            DeviceFault: `shape`, `type` or `range` of the action; `step` = there is nothing to act
                on, or another remote learner asked later; `busy` = the hub is stopping, or its log
                is behind.
        """
        values = flatten(spec.actions, action, what="action")
        seat = self._seat(spec, device)
        before = seat.shown
        if before is None or before.step.ends_episode:
            why = "nothing was shown yet" if before is None else "its episode is over"
            raise DeviceFault(Code.STEP, f"device {device!r} has nothing to act on: {why}; reset")
        if seq not in (None, before.step.seq):
            message = f"device {device!r} was shown with seq {before.step.seq} since; reset"
            raise DeviceFault(Code.STEP, message)
        self._choose(before, Choice(values, Source.POLICY, reason=by))
        while seat.newest is None or seat.newest is before:
            await self._changed(seat, spec, device)
        seat.shown = seat.newest
        return before, seat.newest

    def _choose(self, before: Seen, choice: Choice) -> None:
        """Hand the action on. Of those too late for a step one is logged: a client may repeat it.

        Raises:
            DeviceFault: `busy`, the log is behind.
        """
        assert self.deliver is not None, "the composition root sets it"
        if before.was_late:
            return
        if self.deliver.crowded:
            raise DeviceFault(Code.BUSY, "the log is behind; send the same action again")
        before.was_late = before.step.chosen
        self.deliver.choose(before.step, choice)

    def shown(self, spec: Spec, device: str) -> Seen | None:
        """What the device's remote learner was shown last; None = nothing since the hub started."""
        seat = self._seats.get((spec.agent.name, device))
        return None if seat is None else seat.shown

    def _seat(self, spec: Spec, device: str) -> Seat:
        """Of a device that said nothing yet a new one, at no table."""
        if self._closing:
            raise _stopping()
        place = (spec.agent.name, device)
        if place not in self._seats:
            forgotten = self._unanswered(device)
            if forgotten is not None and forgotten.agent.agent.name == spec.agent.name:
                self.begin(forgotten)
        return self._seats.get(place) or Seat()

    async def _changed(self, seat: Seat, spec: Spec, device: str) -> None:
        """Wait until there is a newer observation."""
        if seat.waiting is not None and not seat.waiting.done():
            message = f"{TAKEN_OVER} {device!r} over"
            seat.waiting.set_exception(DeviceFault(Code.STEP, message))
        mine = seat.waiting = asyncio.get_running_loop().create_future()
        try:
            await mine
        finally:
            if seat.waiting is mine:
                seat.waiting = None
                if seat.begun is None:  # a name that no device has used
                    self._seats.pop((spec.agent.name, device), None)


def _stopping() -> DeviceFault:
    return DeviceFault(Code.BUSY, "the hub is stopping; reset when it is back")
