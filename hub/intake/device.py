"""What the hub remembers of a device, and where each of its messages belongs.

Rule 1: (device, boot, step) names one observation for ever; a repeat is never a second one.
Rule 2: an observation that does not directly follow the one before it is `first`: no transition
        joins the two.
Rule 3: a device that doesn't number its steps is numbered by arrival, anew for each session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import DeviceFault
from hub.intake.endings import Endings
from hub.intake.repeats import Repeats
from hub.step import Content
from hub.words import WINDOW_STEPS, Code, EndedBy

if TYPE_CHECKING:
    from hub.intake.endings import Ended
    from hub.intake.mapping.mapper import Memory
    from hub.step import Held, Step
    from hub.words import AgentName, Answer, DeviceId, Floats, SessionId

HALF_U16: Final = 1 << 15
U16: Final = 1 << 16
BOOTS: Final = 1 << 32
"""A boot's low 32 bits are the device's own number for it; above them counts how often the hub saw
it begin again."""
BOOT_MASK: Final = (1 << 63) - 1
NO_SHADOW: Final = -2
STRAGGLERS: Final = 8
"""Last steps of the boot before that are still known: a device may send again, after a restart,
what it had not heard about."""


class Past(Struct, gc=False, frozen=True):
    """A step that is done: enough to recognise its repeat and answer it alike."""

    content: Content
    answer: Answer


class Episode(Struct):
    """The episode a device is in: a fold of its observations."""

    number: int
    started_us: int
    steps: int = 0
    total_reward: float = 0.0


class Place(Struct, frozen=True):
    """Where a new observation belongs."""

    boot: int
    number: int
    first: bool
    """It follows nothing: start of a boot or of an episode, or after a gap."""
    broken: EndedBy | None = None
    """Why the episode that was running ends here; None when it goes on or none was."""


class Device:
    """One device's place in its own step counter, its open episode and its last answers."""

    __slots__ = (
        "_repeats",
        "agent",
        "before",
        "bonus",
        "boot",
        "count",
        "ended",
        "episode",
        "episodes",
        "given_boot",
        "heard_s",
        "held",
        "id",
        "last_action",
        "last_return",
        "memory",
        "misspelt",
        "packets",
        "refused",
        "seen_us",
        "session",
        "shadow",
        "shadow_next",
        "steps_before",
        "taken",
        "torn",
        "unsure",
        "wide",
        "window",
        "wire_last",
    )

    def __init__(self, device: DeviceId) -> None:
        self.id: str = device
        self.agent: AgentName | None = None
        """Whose the steps so far are; None before the first."""
        self.boot = 0
        """As logged; 0 before the first."""
        self.given_boot: int | None = None
        """As the device gave it last; None when it gives none."""
        self.count: int | None = None
        """Unwrapped number of the newest step in this boot; None before the first."""
        self.wire_last = 0
        self.wide = False
        """This boot's counter has passed u16, so a smaller number is a fall and no wrap."""
        self.torn = False
        """A message contradicted the counter: the next new step follows nothing."""
        self.unsure = False
        """The hub was started since the newest step, and whether it was torn is forgotten."""
        self.shadow = NO_SHADOW
        """Of a boot whose first message may be a late copy: so far the messages after it may be
        copies too, and none of them joins."""
        self.shadow_next = NO_SHADOW
        """The same of the boot that the next message opens."""
        self.session: SessionId | None = None
        """The session of the newest step."""
        self.heard_s = 0.0
        """When it was heard last, seconds on the monotonic clock."""
        self.seen_us = 0
        """Hub time of the newest step before a restart, microseconds since 1970 UTC."""
        self.window: dict[int, Step | Past] = {}
        self.before: tuple[int, dict[int, Step | Past]] | None = None
        """The boot before this one as the device gave it, and its last steps by wire number."""
        self.packets: dict[tuple[int, int], int] = {}
        """(MQTT packet id, payload hash) to step, for devices that don't number."""
        self.episode: Episode | None = None
        self.episodes = 0
        self.steps_before = 0
        """Actions taken in the episodes that are over."""
        self.last_return = 0.0
        """Of the last whole episode."""
        self.ended: Endings | None = None
        """Its last episodes since the hub was started, for those who watch; None before any."""
        self.taken = 0
        """Steps since the hub was started."""
        self.refused = 0
        """Messages since the hub was started."""
        self.bonus = 0.0
        """A person's rewards since the newest observation."""
        self._repeats: Repeats | None = None
        self.misspelt: frozenset[str] | None = None
        """Names of fields that it was told do not exist; None before any."""
        self.last_action: Floats | None = None
        self.held: Held | None = None
        self.memory: Memory | None = None
        """Of what it said before, where a mapping reads it."""

    @property
    def repeats(self) -> Repeats:
        """Rewards and resets that are known by their packets."""
        if self._repeats is None:  # most devices never have any
            self._repeats = Repeats()
        return self._repeats

    @property
    def waits(self) -> bool:
        """Whether its newest step is not answered yet."""
        newest = None if self.count is None else self.window.get(self.count)
        return newest is not None and not isinstance(newest, Past)

    def find(
        self,
        step: int | None,
        *,
        boot: int | None,
        first: bool,
        content: Content,
        duplicate: bool = False,
    ) -> Step | Past | None:
        """The step this message repeats, None when it is a new one.

        `duplicate`: its protocol says that it was sent before.

        Raises:
            DeviceFault: `step` = same number, other content; `late` = older than the window,
                or a number that was skipped and is past.
        """
        if step is None or self.count is None:
            return None
        if boot is not None and boot != self.given_boot:
            return self._find_straggler(step, boot, content)
        behind = -self._ahead(step)
        if behind < 0:
            return None
        known = self.window.get(self.count - behind)
        if first and behind > 0:
            # The start of a boot, or a boot's first message once more: only a device that numbers
            # its boots or says "again" can be known to repeat.
            repeated = known if known is not None and known.content.same(content) else None
            told = duplicate or boot is not None
            self.shadow_next = NO_SHADOW if told or repeated is None else step + behind
            return repeated if told else None
        if boot is None and behind > WINDOW_STEPS:
            return None  # a fall by more than the window opens a boot
        if boot is None and (known is None or not known.content.same(content)):
            self.torn = True  # a restart after few steps looks like this too
        if known is None:
            raise DeviceFault(
                Code.LATE,
                f"step {step} is {behind} behind step {self.wire_last}; not used",
                step=step,
            )
        if known.content.same(content):
            return known
        if first:
            return None  # the counter began anew on the very number it had reached
        text = (
            f"step {step} was sent before with other content; number what is new "
            f"{self.wire_last + 1}, or, after a reboot, send another b, or f:1 with the first step"
        )
        raise DeviceFault(Code.STEP, text, step=step)

    def place(
        self, step: int | None, *, boot: int | None, first: bool, session: SessionId
    ) -> Place:
        """Where a message that repeats nothing belongs. Changes nothing; `take` does."""
        ahead = 1 if step is None else self._ahead(step)
        reboot = (
            self.count is None
            or first
            or (boot is not None and boot != self.given_boot)
            or (step is None and session != self.session)
            or ahead <= 0
        )
        if reboot:
            broken = EndedBy.REBOOT if self.episode else None
            return Place(self._next_boot(boot), step or 0, first=True, broken=broken)
        assert self.count is not None
        # Only a boot number tells that the counter did not begin anew just before a restart.
        unsure = self.unsure and boot is None and step is not None
        gap = ahead > 1 or self.torn or unsure
        broken = EndedBy.GAP if gap and self.episode else None
        number = self.count + ahead
        first = gap or self.episode is None or number <= self.shadow + 1
        return Place(self.boot, number, first=first, broken=broken)

    def take(self, place: Place, step: Step, *, given_boot: int | None) -> None:
        """Remember a step as the newest."""
        if place.boot != self.boot or self.count is None:
            self._keep_stragglers()
            self.window.clear()
            self.packets.clear()
            self.given_boot = given_boot
            self.wide = False
            self.shadow, self.shadow_next = self.shadow_next, NO_SHADOW
        # One that gives its boot now and then, in hello only say, is still in the same one.
        elif given_boot is not None:
            self.given_boot = given_boot
        self.taken += 1
        self.boot = place.boot
        self.count = place.number
        self.wire_last = step.wire_number
        self.wide = self.wide or step.wire_number >= U16
        self.heard_s = step.arrived
        self.torn = self.unsure = False
        self.session = step.session
        self.window[place.number] = step
        while next(iter(self.window)) <= place.number - WINDOW_STEPS:
            del self.window[next(iter(self.window))]

    def move(self, agent: AgentName) -> None:
        """Its steps are another agent's from now on, and nothing of before is theirs."""
        self.window.clear()
        self.before = None
        self.packets.clear()
        self.agent = agent
        self.torn = True
        self.bonus = 0.0
        self.last_action = None
        self.held = None

    def settle(self, step: Step) -> None:
        """The step is answered: keep only what a repeat needs, half a KB; nothing if none can."""
        if step.answer is None:
            return
        if not step.can_repeat:
            if self.window.get(step.number) is step:
                del self.window[step.number]
            return
        past = Past(step.content, step.answer)
        if self.window.get(step.number) is step:
            self.window[step.number] = past
        elif self.before is not None and self.before[1].get(step.wire_number) is step:
            self.before[1][step.wire_number] = past

    def _find_straggler(self, step: int, boot: int, content: Content) -> Step | Past | None:
        """A step of the boot before, sent again; anything else of that number is a boot anew."""
        if self.before is None or self.before[0] != boot:
            return None
        known = self.before[1].get(step)
        return known if known is not None and known.content.same(content) else None

    def _keep_stragglers(self) -> None:
        if self.given_boot is None:
            self.before = None
            return
        newest = list(self.window.values())[-STRAGGLERS:]
        self.before = (self.given_boot, {_wire_number(step): step for step in newest})

    def remember_end(self, ended: Ended) -> None:
        """One more episode is over."""
        if self.ended is None:
            self.ended = Endings(ended)
        else:
            self.ended.add(ended)

    def remember_packet(self, packet: tuple[int, int], number: int) -> None:
        """A QoS 1 message without a step number: its DUP has this packet id and payload."""
        self.packets.pop(packet, None)
        self.packets[packet] = number
        if len(self.packets) > WINDOW_STEPS:
            del self.packets[next(iter(self.packets))]

    def _ahead(self, step: int) -> int:
        """How far `step` is after the newest; u16 counters wrap (RFC 1982, section 3.2)."""
        if step < U16 and not self.wide:
            return (step - self.wire_last + HALF_U16) % U16 - HALF_U16
        return step - self.wire_last

    def _next_boot(self, given: int | None) -> int:
        """The device's own number, told apart from its last boot of that number; else one more."""
        if given is None:
            return self.boot + 1 & BOOT_MASK
        if self.count is not None and self.boot % BOOTS == given:
            return self.boot + BOOTS & BOOT_MASK
        return given


def _wire_number(step: Step | Past) -> int:
    return step.answer.step if isinstance(step, Past) else step.wire_number
