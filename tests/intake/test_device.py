"""Where a device's messages belong: what docs/device-maker.md says, then a simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import DeviceFault
from hub.intake.device import BOOTS, Device, Episode, Place
from hub.step import Content, Step
from hub.words import (
    WINDOW_STEPS,
    AgentName,
    Answer,
    Code,
    DeviceId,
    EndedBy,
    Observation,
    SessionId,
)
from tests.intake.fakes import agent_spec, floats

if TYPE_CHECKING:
    from hub.intake.device import Past

SPEC = agent_spec()
OBSERVATION = Observation(floats(0.0, 0.0), None, False, False, None, None)


class Told(NamedTuple):
    """What became of a message: a new place, or the number of the step it repeats."""

    place: Place | None
    repeats: int | None


class Counter:
    """A device and what the main path does with it, without the rest of a step."""

    def __init__(self) -> None:
        self.device = Device(DeviceId("heater"))
        self.session = 1

    def send(
        self,
        step: int | None,
        content: int = 0,
        *,
        boot: int | None = None,
        first: bool = False,
        duplicate: bool = False,
    ) -> Told:
        """Take one message, answered at once."""
        device = self.device
        same = Content(content, 0)
        known = device.find(step, boot=boot, first=first, content=same, duplicate=duplicate)
        if known is not None:
            return Told(None, number_of(known))
        place = device.place(step, boot=boot, first=first, session=SessionId(self.session))
        if place.broken or device.episode is None:
            device.episode = Episode(1, 0)
        taken = Step(
            agent=SPEC,
            device=device,
            session=SessionId(self.session),
            boot=place.boot,
            number=place.number,
            wire_number=place.number if step is None else step,
            observation=OBSERVATION,
            content=same,
            arrived=0.0,
        )
        device.take(place, taken, given_boot=boot)
        taken.answer = Answer(taken.wire_number, 0, place.number, None, None)
        device.settle(taken)
        return Told(place, None)

    def place(self, step: int | None, content: int = 0, **options: int | None) -> Place:
        """Where a message that must be new belongs."""
        told = self.send(step, content, boot=options.get("boot"), first=bool(options.get("first")))
        assert told.place is not None, "it was taken for a repeat"
        return told.place


def number_of(known: Step | Past) -> int:
    assert not isinstance(known, Step), "all steps here are answered"
    return known.answer.seq


def test_steps_that_follow_each_other_stay_in_one_boot() -> None:
    counter = Counter()
    assert counter.place(0) == Place(1, 0, first=True)
    assert counter.place(1) == Place(1, 1, first=False)
    assert counter.place(2) == Place(1, 2, first=False)


def test_a_device_may_start_at_any_step() -> None:
    assert Counter().place(40_000) == Place(1, 40_000, first=True)


def test_a_given_boot_is_the_logged_boot_whatever_its_number() -> None:
    for boot in (0, 1, 7, 2**32 - 1):
        counter = Counter()
        assert counter.place(5, boot=boot) == Place(boot, 5, first=True)
        assert counter.place(6, boot=boot) == Place(boot, 6, first=False)


def test_another_boot_number_opens_a_boot() -> None:
    counter = Counter()
    counter.place(5, boot=7)
    assert counter.place(6, boot=8) == Place(8, 6, first=True, broken=EndedBy.REBOOT)
    assert counter.place(7, boot=8) == Place(8, 7, first=False)


def test_what_is_sent_again_of_the_boot_before_opens_no_boot() -> None:
    counter = Counter()
    for step in range(20):
        counter.place(step, step, boot=7)
    counter.place(0, 100, boot=8)
    assert counter.send(19, 19, boot=7).repeats == 19
    assert counter.place(1, 101, boot=8) == Place(8, 1, first=False)


def test_a_boot_number_that_comes_back_with_other_content_is_a_boot_anew() -> None:
    counter = Counter()
    for boot in (7, 8):
        counter.place(0, boot, boot=boot)
    assert counter.place(0, 9, boot=7).first
    assert counter.place(1, 10, boot=7) == Place(7, 1, first=False)


def test_first_opens_a_boot_too() -> None:
    counter = Counter()
    counter.place(5)
    assert counter.place(0, first=True) == Place(2, 0, first=True, broken=EndedBy.REBOOT)
    assert counter.place(6, first=True) == Place(3, 6, first=True, broken=EndedBy.REBOOT)


def test_first_within_one_boot_number_opens_boots_that_keep_it_in_their_low_bits() -> None:
    """So the number the device gave is found again after a restart, and no key is used twice."""
    counter = Counter()
    boots = [counter.place(step, step, boot=7, first=True).boot for step in (9, 5, 3)]
    assert boots == [7, 7 + BOOTS, 7 + 2 * BOOTS]
    assert counter.place(4, boot=8).boot == 8


def test_boots_never_leave_64_bits() -> None:
    counter = Counter()
    counter.place(1, boot=7)
    counter.device.boot = 2**63 - BOOTS + 7
    assert counter.place(1, 1, boot=7, first=True).boot == 7


def test_a_fall_by_more_than_64_opens_a_boot() -> None:
    counter = Counter()
    counter.place(100)
    assert counter.place(35) == Place(2, 35, first=True, broken=EndedBy.REBOOT)


def test_a_fall_by_64_is_late() -> None:
    counter = Counter()
    counter.place(100)
    with pytest.raises(DeviceFault) as caught:
        counter.send(36)
    assert caught.value.code is Code.LATE


def test_a_numbered_boot_falls_without_end_and_is_late() -> None:
    counter = Counter()
    counter.place(1000, boot=7)
    with pytest.raises(DeviceFault) as caught:
        counter.send(3, boot=7)
    assert (caught.value.code, caught.value.step) == (Code.LATE, 3)


def test_u16_steps_are_unwrapped() -> None:
    counter = Counter()
    assert counter.place(65_534).number == 65_534
    assert counter.place(65_535).number == 65_535
    assert counter.place(0) == Place(1, 65_536, first=False)
    assert counter.place(1) == Place(1, 65_537, first=False)
    assert counter.send(65_535).repeats == 65_535


def test_a_wider_counter_does_not_wrap() -> None:
    counter = Counter()
    assert counter.place(65_535).number == 65_535
    assert counter.place(65_536) == Place(1, 65_536, first=False)
    assert counter.place(131_071).number == 131_071
    # Serially 0 would be the next one; a device that counts to 131071 has begun again.
    assert counter.place(0) == Place(2, 0, first=True, broken=EndedBy.REBOOT)


def test_a_repeat_among_the_last_64_steps_is_known() -> None:
    counter = Counter()
    for step in range(100):
        counter.place(step, step)
    for step in range(100 - WINDOW_STEPS, 100):
        assert counter.send(step, step).repeats == step


def test_an_older_repeat_is_late() -> None:
    counter = Counter()
    for step in range(100):
        counter.place(step, step, boot=7)
    with pytest.raises(DeviceFault) as caught:
        counter.send(35, 35, boot=7)
    assert caught.value.code is Code.LATE


def test_the_same_step_with_other_content_is_refused_and_told_the_number_that_is_taken() -> None:
    counter = Counter()
    counter.place(4, 1, boot=7)
    counter.place(5, 1, boot=7)
    for step in (4, 5):
        with pytest.raises(DeviceFault) as caught:
            counter.send(step, 2, boot=7)
        assert (caught.value.code, caught.value.step) == (Code.STEP, step)
        assert "number what is new 6, or, after a reboot, send another b" in str(caught.value)
        assert "or f:1 with the first step" in str(caught.value)
    assert counter.place(6, boot=7) == Place(7, 6, first=False)


def test_a_gap_breaks_the_episode() -> None:
    counter = Counter()
    counter.place(5)
    assert counter.place(8) == Place(1, 8, first=True, broken=EndedBy.GAP)
    assert counter.place(9) == Place(1, 9, first=False)


def test_a_skipped_number_that_comes_after_all_is_late() -> None:
    counter = Counter()
    counter.place(5)
    counter.place(7)
    with pytest.raises(DeviceFault) as caught:
        counter.send(6)
    assert caught.value.code is Code.LATE


def test_a_short_fall_that_is_no_repeat_leaves_nothing_to_join() -> None:
    """Of a device that gives no boot number and restarts: step 30 is the old run's, 31 the new."""
    counter = Counter()
    for step in range(31):
        counter.place(step, step)
    for step in range(31):
        with pytest.raises(DeviceFault):
            counter.send(step, 1000 + step)
    assert counter.place(31) == Place(1, 31, first=True, broken=EndedBy.GAP)
    assert counter.place(32) == Place(1, 32, first=False)


def test_boot_may_stand_in_the_first_observation_only() -> None:
    counter = Counter()
    counter.place(0, 0, boot=7, first=True)
    assert counter.place(1, 1) == Place(7, 1, first=False)
    assert counter.send(0, 0, boot=7).repeats == 0
    assert counter.place(2, 2, boot=7) == Place(7, 2, first=False)


def test_the_first_message_of_a_numbered_boot_repeated_opens_no_second() -> None:
    counter = Counter()
    counter.place(0, 10, boot=7, first=True)
    counter.place(1, 11, boot=7)
    assert counter.send(0, 10, boot=7, first=True).repeats == 0


def test_the_first_message_sent_again_by_mqtt_opens_no_second_boot() -> None:
    counter = Counter()
    counter.place(0, 10, first=True)
    counter.place(1, 11)
    assert counter.send(0, 10, first=True, duplicate=True).repeats == 0
    assert counter.send(0, 10, first=True).place == Place(2, 0, first=True, broken=EndedBy.REBOOT)


def test_the_same_first_step_with_other_content_is_another_boot() -> None:
    counter = Counter()
    counter.place(0, 10, first=True)
    assert counter.place(0, 11, first=True) == Place(2, 0, first=True, broken=EndedBy.REBOOT)


def test_a_device_that_does_not_number_is_numbered_by_arrival_anew_for_each_session() -> None:
    counter = Counter()
    assert [counter.place(None).number for _ in range(3)] == [0, 1, 2]
    counter.session = 2
    assert counter.place(None) == Place(2, 0, first=True, broken=EndedBy.REBOOT)
    assert counter.place(None) == Place(2, 1, first=False)


def test_a_device_that_numbers_may_reconnect_in_the_middle() -> None:
    counter = Counter()
    counter.place(5)
    counter.session = 2
    assert counter.place(6) == Place(1, 6, first=False)
    assert counter.send(5).repeats == 5


def test_packets_are_remembered_as_long_as_steps() -> None:
    device = Device(DeviceId("heater"))
    for number in range(100):
        device.remember_packet((number, 0), number)
    assert list(device.packets.values()) == list(range(100 - WINDOW_STEPS, 100))


def test_a_moved_device_begins_with_nothing() -> None:
    counter = Counter()
    counter.place(5)
    counter.device.last_action = floats(1.0)
    counter.device.episode = None
    counter.device.move(AgentName("runner"))
    assert not counter.device.last_action
    with pytest.raises(DeviceFault):
        counter.send(5)
    assert counter.place(6).first


# --- the simulator -----------------------------------------------------------------------------
#
# Goal: for any history of a device that numbers its steps, no observation is counted twice, every
# repeat is recognised as what it was, and no two observations are joined that did not follow each
# other. Method: the test knows the truth, (life, n) of each message; the device's outside hides
# the life, as far as its rules let it.


class Life(NamedTuple):
    """How a device shows which run of its counter it is in."""

    boot: bool
    first: bool
    u16: bool
    start: int


class World:
    """A device, the network and the truth."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.counter = Counter()
        self.lives = 0
        self.next = life.start
        self.oldest = life.start
        self.counted: dict[tuple[int, int], int] = {}
        self.newest: tuple[int, int] | None = None

    def run(self, count: int) -> None:
        """So many new steps, all delivered in order."""
        for _ in range(count):
            self.deliver(self.next)
            self.next += 1

    def lose(self, count: int) -> None:
        """So many new steps that never arrive; the first of a boot always does, sooner or later."""
        if self.next > self.oldest:
            self.next += count

    def swap(self) -> None:
        """The next two arrive the wrong way round."""
        if self.next > self.oldest:
            self.deliver(self.next + 1)
            self.deliver(self.next)
            self.next += 2

    def repeat(self, back: int) -> None:
        """One of the last steps of this life arrives again."""
        n = self.next - 1 - back
        if n >= self.oldest and (self.lives, n) in self.counted:
            self.deliver(n, again=True)

    def reboot(self) -> None:
        """Begin anew at 0, if the device's outside can show it; 65535 then 0 is a u16 wrap."""
        newest = self.wire(self.next - 1)
        falls = self.next > self.oldest and newest > WINDOW_STEPS and newest != 65_535
        if self.life.boot or self.life.first or falls:
            self.lives += 1
            self.next = self.oldest = 0

    def reconnect(self) -> None:
        """Another session."""
        self.counter.session += 1

    def wire(self, n: int) -> int:
        """The number as the device sends it."""
        return n % 65_536 if self.life.u16 else n

    def deliver(self, n: int, *, again: bool = False) -> None:
        """One message arrives; whatever the hub makes of it must agree with the truth."""
        truth = (self.lives, n)
        try:
            told = self.counter.send(
                self.wire(n),
                hash(truth),
                boot=self.lives if self.life.boot else None,
                first=self.life.first and n == self.oldest,
                duplicate=again,
            )
        except DeviceFault as fault:
            assert fault.code in (Code.STEP, Code.LATE)  # noqa: PT017
            assert truth not in self.counted or not again, "a repeat was not recognised"
            return
        if told.place is None:
            assert told.repeats == self.counted[truth], "a repeat of another step"
            return
        assert truth not in self.counted, "counted twice"
        if not told.place.first:
            assert self.newest == (self.lives, n - 1), "joined what did not follow"
        self.counted[truth] = told.place.number
        self.newest = truth


lives = st.builds(
    Life,
    boot=st.booleans(),
    first=st.booleans(),
    u16=st.booleans(),
    start=st.sampled_from([0, 1, 65_400, 65_535]),
)
happenings = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 90)),
    st.tuples(st.just("lose"), st.integers(1, 200)),
    st.tuples(st.just("repeat"), st.integers(0, WINDOW_STEPS - 1)),
    st.tuples(st.sampled_from(["swap", "reboot", "reconnect"]), st.just(0)),
)


@given(lives, st.lists(happenings, max_size=25))
def test_whatever_the_network_does_steps_count_once_and_nothing_false_is_joined(
    life: Life, history: list[tuple[str, int]]
) -> None:
    world = World(life)
    for what, number in history:
        match what:
            case "run":
                world.run(number)
            case "lose":
                world.lose(number)
            case "repeat":
                world.repeat(number)
            case "swap":
                world.swap()
            case "reboot":
                world.reboot()
                world.run(1)
            case _:
                world.reconnect()


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 2**62),
            st.integers(0, 3),
            st.none() | st.integers(0, 2**32 - 1),
            st.booleans(),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_any_numbers_are_placed_within_64_bits_or_a_fault_of_the_device(
    messages: list[tuple[int | None, int, int | None, bool, bool]],
) -> None:
    counter = Counter()
    for step, content, boot, first, duplicate in messages:
        try:
            told = counter.send(step, content, boot=boot, first=first, duplicate=duplicate)
        except DeviceFault:
            continue
        if told.place is not None:
            assert 0 <= told.place.number < 2**63
            assert 0 <= told.place.boot < 2**63
