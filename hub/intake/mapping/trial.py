"""A mapping tried on a payload before it is live: what is found, and what the device would be told.

    trial = try_out(mapping, b't=70.7&unit=F', before=None, spec=registry.agents["boilers"])
    trial.readings[0].number        # 21.5
    trial.fault                     # None: such a payload would be taken
    trial.commands[1].payload       # "ON": what the device is told for action 1

Nothing is changed, and no device hears of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from hub.errors import DeviceFault, OperatorFault
from hub.intake.mapping.bound import check_mapping
from hub.intake.mapping.command import compile_command
from hub.intake.mapping.mapper import DIGITS, Mapper
from hub.intake.observation import check
from hub.mappings import MappingName
from hub.over_observation import Undefined, read_reward
from hub.registry.fold import Registered
from hub.spaces import Discrete, as_json, neutral, shown

if TYPE_CHECKING:
    from hub.intake.mapping.mapper import Mapped, Memory
    from hub.mappings import Field, Mapping
    from hub.registry.fold import Spec
    from hub.words import Floats

CHOICES_SHOWN: Final = 8


class Tried(Struct, frozen=True):
    """One number of the observation."""

    name: str
    path: str
    found: str | None
    """As it was sent; None: nothing is there."""
    unit: str
    """`°F → Cel`; empty where the mapping names none."""
    number: float | None
    """None: there is none, `note` says why."""
    note: str
    """What was done to it beside unit, scale and offset; or what is wrong with it."""


class Told(Struct, frozen=True):
    """What a device would be sent for an action."""

    action: Any
    topic: str | None
    """None: the answer over HTTP; over MQTT it comes on `act`, as to other devices."""
    payload: str


class Trial(Struct, frozen=True):
    """What came of it."""

    readings: list[Tried]
    fault: str | None
    """Why such a payload would be refused."""
    values: list[float] | None
    """The observation as the agent would see it; None: there is none."""
    reward: float | None
    """Of the action before, by the agent's expression if there is one, else as the device says."""
    done: bool
    warnings: list[str]
    commands: list[Told]


def try_out(
    mapping: Mapping,
    payload: bytes,
    *,
    before: bytes | None = None,
    spec: Spec | None = None,
    reward: str | None = None,
) -> Trial:
    """Read one payload.

    Args:
        mapping: as declared.
        payload: as the device sends it.
        before: what it sent before, where something may be held.
        spec: of the agent it would belong to; None = of none yet.
        reward: an expression to compute instead of the agent's own.

    Raises:
        OperatorFault: the mapping can't be carried out by any agent.
    """
    mapper = Mapper("trial", 0, mapping)
    warnings: list[str] = []
    memory = None if before is None else _remembered(mapper, before, warnings)
    mapped, fault = None, None
    try:
        mapped = mapper.read(payload, memory)
        if mapped is None:
            warnings.append("it holds nothing of the mapping, so it is no observation")
        elif spec is not None:
            check(spec, mapper.message(payload, mapped))
    except DeviceFault as refused:
        fault = f"{refused.code}: {refused.message}"
    commands = _commands(mapping, spec, warnings)
    if spec is not None:
        _check_agent(mapping, spec, warnings)
    return Trial(
        readings=_readings(mapper, payload, memory),
        fault=fault,
        values=None if mapped is None else [_rounded(number) for number in mapped.numbers],
        reward=_reward(mapper, payload, mapped, spec, reward, warnings),
        done=mapped is not None and mapped.done,
        warnings=warnings,
        commands=commands,
    )


def _remembered(mapper: Mapper, before: bytes, warnings: list[str]) -> Memory | None:
    try:
        mapped = mapper.read(before, None)
    except DeviceFault as fault:
        warnings.append(f"what was sent before is refused ({fault.message}), so nothing is held")
        return None
    return None if mapped is None else mapped.memory


def _readings(mapper: Mapper, payload: bytes, memory: Memory | None) -> list[Tried]:
    """Field by field, each with what is wrong with it alone; none of what can't be decoded."""
    fields = mapper.mapping.observations
    unclipped = structs.replace(
        mapper.mapping, observations=[structs.replace(field, clip=None) for field in fields]
    )
    try:
        document, _ = mapper.document(payload, memory)
    except DeviceFault:
        return []
    plain = Mapper(mapper.name, mapper.version, unclipped)
    return [_reading(mapper, plain, i, document, memory) for i in range(len(fields))]


def _reading(
    mapper: Mapper, plain: Mapper, i: int, document: object, memory: Memory | None
) -> Tried:
    field = mapper.mapping.observations[i]
    get, unit_of = mapper.gets[i]
    found, unit, number, note = None, "", None, ""
    try:
        value, sent_in = get(document), None if unit_of is None else unit_of(document)
        found, unit = None if value is None else shown(value), _unit(field, sent_in)
        number = mapper.readings[i](document)
        if number is None:
            number = mapper.instead(i, memory)
            given = isinstance(field.missing, int | float)
            note = "missing, this is taken" if given else "missing, the last value is held"
        elif field.clip is not None and (was := plain.readings[i](document)) != number:
            note = f"clipped, it was {_rounded(was or 0.0)}"
    except DeviceFault as fault:
        note = fault.message
    return Tried(
        field.name, field.path, found, unit, None if number is None else _rounded(number), note
    )


def _unit(field: Field, sent_in: object) -> str:
    if field.unit is None:
        return ""
    from_ = sent_in if isinstance(sent_in, str) else field.sent_in
    return field.unit if from_ in (None, field.unit) else f"{from_} → {field.unit}"


def _reward(
    mapper: Mapper,
    payload: bytes,
    mapped: Mapped | None,
    spec: Spec | None,
    expression: str | None,
    warnings: list[str],
) -> float | None:
    """As the hub would count it, but for a first step, which rewards nothing."""
    if mapped is None:
        return None
    text = expression or (None if spec is None else spec.agent.reward)
    if text is None:
        return mapped.reward
    if mapped.reward is not None:
        warnings.append("the expression stands instead of the reward that the device sends")
    if spec is None:
        warnings.append("a reward is computed over an agent's observation: choose one")
        return None
    try:
        number = read_reward(text, spec.observations, mapper.fields)
        return _rounded(number(_floats(mapper, payload, mapped)))
    except OperatorFault as fault:
        warnings.append(f"reward: {fault}")
    except Undefined as undefined:
        warnings.append(f"the reward can't be computed of it, and would be missing: {undefined}")
    return None


def _floats(mapper: Mapper, payload: bytes, mapped: Mapped) -> Floats:
    values = mapper.message(payload, mapped).o
    assert isinstance(values, bytes), "a mapping makes float32 of it"
    return values  # type: ignore[return-value]  # `Floats`, which `o` of any message may be


def _commands(mapping: Mapping, spec: Spec | None, warnings: list[str]) -> list[Told]:
    """For each choice, or for one action where there are too many."""
    command = mapping.action
    if command is None:
        warnings.append("no [action]: it is told as other devices are, on act or in the answer")
        return []
    if spec is None:
        warnings.append("what the device is told depends on the agent's actions: choose one")
        return []
    try:
        say = compile_command(command, spec.actions)
    except OperatorFault:
        return []  # `_check_agent` says it
    space = spec.actions
    actions: list[Any] = [as_json(space, neutral(space))]
    if isinstance(space, Discrete) and space.n <= CHOICES_SHOWN:
        actions = list(range(space.start, space.start + space.n))
    return [Told(action, command.topic, say(action).decode(errors="replace")) for action in actions]


def _check_agent(mapping: Mapping, spec: Spec, warnings: list[str]) -> None:
    try:
        check_mapping(Registered(MappingName("trial"), spec.agent.name, 0, mapping), spec)
    except OperatorFault as fault:
        warnings.append(f"agent {spec.agent.name} would refuse it: {fault}")


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
