"""A policy version's numpy half: features, forward pass, and how an action is drawn.

    chooser = Chooser(read_policy(path), seed=agent.seed)
    choices = chooser.choose(questions, greedy=False)

The same numbers as Stable-Baselines3's own policies to float32 rounding, without torch: asked
alone, in a seventh to a fifteenth of the time of their `predict()`. What is logged is what stands
here: it is never computed again.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from hub.learner.acting.chance import SLOT, Chance
from hub.learner.acting.drawing import Drawing
from hub.learner.acting.kinds import GAUSSIAN, KINDS, MASKED, UNIFORMS, alone_of
from hub.learner.acting.layers import rows_of
from hub.learner.acting.memory import Memory, each_device_once
from hub.learner.acting.tell import tell
from hub.learner.features import factors_of, features
from hub.learner.largest import LARGEST, fits, is_unbounded
from hub.learner.messages import NOTHING, Advice, Drawn, payload_of
from hub.learner.slots import LOG_FACTORS, numbered, with_slot
from hub.learner.versions.scaling import Scale, scale_of
from hub.mask import TAKEN_BY
from hub.spaces import Box, Dict, Discrete, MultiBinary, choices, parse, size
from hub.step import Choice
from hub.words import Floats, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hub.learner.acting.kinds import DrawAlone
    from hub.learner.acting.layers import SlotNumbers
    from hub.learner.columns import Chosen, Questions
    from hub.learner.interface import Choices
    from hub.learner.versions.parts import Part
    from hub.learner.versions.policy import PolicyFile, Tensors

    Matrix = NDArray[np.float32]


F32: Final = np.dtype("<f4")
ROUND: Final = struct.Struct("=f")


class Chooser:
    """One version, ready to act."""

    def __init__(self, policy: PolicyFile, seed: int, before: Chooser | None = None) -> None:
        """`before` acted until now: what it had going on a device goes on."""
        card, tensors = policy.card, policy.tensors
        self.version = card.version
        sent = parse(card.observations)
        self._observations = with_slot(sent, card.device_slots)
        self._actions = parse(card.actions)
        self._name = card.kind
        self._kind = KINDS[card.kind]
        self._takes_masks = card.algorithm in TAKEN_BY
        self._told_apart = card.device_slots > 0 and card.kind != "own"
        flat = isinstance(sent, Box | MultiBinary) and card.extractor is None
        # Then the net adds the column of a slot to its first layer, and nothing is one-hot.
        added = flat and bool(card.action_layers[:-1]) and not card.recurrent and self._told_apart
        self._added = added
        self._drawing: Drawing = Drawing(
            policy,
            seed,
            None if before is None else before._drawing,
            slots=card.device_slots + 1 if added else 0,
        )
        self.memory: Memory | None = None
        """Of a recurrent policy."""
        if card.recurrent:
            memory = None if before is None else before.memory
            self.memory = Memory(tensors, card.recurrent, memory)
        self._first = self._actions.start if isinstance(self._actions, Discrete) else 0
        own = self._drawing.own
        count = own.uniforms if own else UNIFORMS[card.kind](self._actions)
        self._chance = Chance(seed, count, numbered(card.devices))
        self._factors = _factors_of(tensors, 0 if added else card.device_slots + 1)
        self._size = size(sent)
        plainly_drawn = self.memory is None and not self._takes_masks
        self._alone = alone_of(card.kind, self._drawing) if plainly_drawn else None
        self._pack = struct.Struct(f"={size(self._actions)}f").pack
        self._unbounded = is_unbounded(sent)
        self._plain = own is not None or added or isinstance(self._observations, Box | MultiBinary)
        self._features = features
        if card.extractor is not None:
            # Torch, and only here: convolutions are what numpy can't do in time.
            from hub.learner.sb3.images import Extractor

            self._plain = False
            self._features = Extractor(self._observations, tensors, card.extractor)
        self._scale: Scale | None = None
        if card.clip_obs is not None:
            self._scale = scale_of(sent, tensors, clip=card.clip_obs)

    def advise(self, question: Questions) -> Matrix:
        """What it would do, asked one: (1, k), as in `Advice`; Q as the log of its softmax."""
        x, _ = self._inputs(question, self._chance.find_one(question).slot)
        logits, log_std, _, _ = self._drawing.net.look(x)
        if self._name in GAUSSIAN:
            assert log_std is not None, "a Gaussian has a spread"
            return np.concatenate([logits, np.broadcast_to(log_std, logits.shape)], axis=1)
        if isinstance(self._actions, Discrete):
            logits = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return logits

    def choose_advised(self, question: Questions, adviser: str, advice: Matrix) -> Choice:
        """One action, drawn from the product of what it and its adviser would do."""
        net = self._drawing.net
        net.advice = advice
        beside = Drawn(advice=Advice(adviser, Floats(advice.tobytes())))
        try:
            (choice,) = self.choose(question, greedy=False, beside=beside)
        finally:
            net.advice = None
        return choice

    def choose(self, questions: Questions, *, greedy: bool, beside: Drawn = NOTHING) -> Chosen:
        """An action for each question, in order, as the log will have it.

        Args:
            questions: of any devices.
            greedy: the best action, and nothing is drawn.
            beside: what the log is to say of all of them.
        """
        if self._alone is not None and len(questions.devices) == 1:
            try:
                return [self._choose_alone(self._alone, questions, greedy=greedy, beside=beside)]
            except (ValueError, OverflowError):
                pass  # a network gone wrong: numpy goes on with what is no number
        if self.memory is None and self._drawing.drift is None:
            return self._choose(questions, greedy=greedy, beside=beside)
        chosen: list[Choice] = []
        for run in each_device_once(questions):
            chosen += self._choose(run, greedy=greedy, beside=beside)
        return chosen

    @property
    def networks(self) -> dict[str, Part]:
        """None but its own."""
        return {}

    def forget(self) -> None:
        """Begin anew with every device: nobody followed what was seen meanwhile."""
        if self.memory is not None:
            self.memory.forget()

    def _inputs(self, questions: Questions, slots: SlotNumbers) -> tuple[Matrix, list[int]]:
        """What the first layer sees, and of a recurrent policy how much it had seen before."""
        numbers = np.frombuffer(questions.values, F32)
        if self._unbounded and not fits(numbers):
            numbers = numbers.clip(-LARGEST, LARGEST)
        observations = numbers.reshape(-1, self._size)
        if self._scale is not None:
            observations = self._scale(observations)
        if self._told_apart:
            observations = self._with_slots(observations, slots)
        x = observations if self._plain else self._features(self._observations, observations)
        if self._factors is not None:
            x = x * rows_of(self._factors, slots)
        seen: list[int] = []
        if self.memory is not None:
            x, seen = self.memory.remember(questions, x)
        return x, seen

    def _choose(self, questions: Questions, *, greedy: bool, beside: Drawn) -> Chosen:
        found = self._chance.find(questions)
        x, seen = self._inputs(questions, found[:, SLOT].view(np.int64))
        self._drawing.asked = questions
        uniforms = None if greedy else self._chance.uniforms(questions, found)
        if self._takes_masks and questions.masks is not None:
            chosen = MASKED[self._name](self._drawing, x, uniforms, self._masks(questions.masks))
        else:
            chosen = self._kind(self._drawing, x, uniforms)
        if self._first:
            chosen = chosen._replace(actions=chosen.actions + np.float32(self._first))
        payloads = self._payloads(questions, chosen, seen, beside)
        return tell(chosen, _source_of(beside), self.version, payloads)

    def _choose_alone(
        self, draw: DrawAlone, question: Questions, *, greedy: bool, beside: Drawn
    ) -> Choice:
        """The same of one, in a third of the time."""
        begins, slot = self._chance.find_one(question)
        x, _ = self._inputs(question, slot)
        uniforms = None if greedy else self._chance.uniforms_of_one(question, begins)
        action, logprob, value, raw = draw(self._drawing, x, uniforms)
        if self._first:
            action = [choice + self._first for choice in action]
        floats = Floats(self._pack(*action))
        if raw is not None and (sampled := Floats(self._pack(*raw))) != floats:
            beside = beside._replace(raw=sampled)
        payload = None if beside is NOTHING else payload_of(beside)
        if logprob is not None:
            (logprob,) = ROUND.unpack(ROUND.pack(logprob))  # as the log has it
        return Choice(floats, _source_of(beside), self.version, logprob, value, None, payload)

    def _with_slots(self, observations: Matrix, slots: SlotNumbers) -> Matrix:
        """The observations with their devices' slots behind them, or the net told of these."""
        if self._added:
            self._drawing.net.slots = slots
            return observations
        return np.column_stack([observations, np.full(len(observations), slots, np.float32)])

    def _masks(self, masks: Sequence[bytes | None]) -> NDArray[np.bool_]:
        """What each question allows, (batch, choices)."""
        assert not isinstance(self._actions, (Box, Dict)), "only choices have a mask"
        everything = b"\1" * sum(choices(self._actions))
        joined = b"".join([mask or everything for mask in masks])
        return np.frombuffer(joined, dtype=np.bool_).reshape(len(masks), -1)

    def _payloads(
        self,
        questions: Questions,
        chosen: Choices,
        seen: list[int],
        beside: Drawn,
    ) -> tuple[str | None, ...] | None:
        """Of each, how it was drawn; `beside` is said of all."""
        actions, _, _, raw = chosen
        if raw is None and self.memory is None and not self._takes_masks and beside is NOTHING:
            return None
        drawn = [beside] * len(questions)
        if raw is not None:
            for i in np.flatnonzero((raw != actions).any(axis=1)):
                drawn[i] = beside._replace(raw=Floats(raw[i].tobytes()))
        if self.memory is not None:
            drawn = [d._replace(memory=count) for d, count in zip(drawn, seen, strict=True)]
        if self._takes_masks:
            masks = questions.masks or (None,) * len(questions)
            drawn = [d._replace(mask=mask) for d, mask in zip(drawn, masks, strict=True)]
        return tuple(map(payload_of, drawn))


def _factors_of(tensors: Tensors, behind: int) -> Matrix | None:
    """Of each slot, by what its features are multiplied, and 1 for the numbers `behind` them."""
    if LOG_FACTORS not in tensors:
        return None
    return np.pad(factors_of(tensors[LOG_FACTORS]), ((0, 0), (0, behind)), constant_values=1.0)


def _source_of(beside: Drawn) -> Source:
    return Source.POLICY if beside.advice is None else Source.ADVICE
