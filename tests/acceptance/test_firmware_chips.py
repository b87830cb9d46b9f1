"""Firmware for chips, built by their own compilers and run on emulated ones, wire by wire."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from msgspec import Struct

from tests.acceptance.boards import (
    CART,
    DIMMER,
    EXAMPLES,
    RUN_S_MAX,
    STRICT,
    TANK,
    THERMOSTAT,
    assert_true_transitions,
    steps,
)
from tests.acceptance.real_hub import HOST, until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from tests.acceptance.boards import Workbench
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

STEPS: Final = 60
"""A serial line of 115,200 baud takes 10 ms a step."""
FEW: Final = 20
"""With all of them at once."""
QUICK_MS: Final = 20
"""Until a learner has started the fallback answers, and need not take its time."""
ARDUINO: Final = Path("/usr/share/arduino/hardware/arduino/avr")
ATMEGA: Final = ("-Os", "-mrelax", "-mmcu=atmega328p", "-DF_CPU=16000000UL")
CORE: Final = (
    "-DARDUINO=10819", "-DARDUINO_AVR_UNO", "-DARDUINO_ARCH_AVR", "-DDECIMAL_DIG=17", "-w",
    "-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics", "-fpermissive", "-flto",
    "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections",
)  # fmt: skip
"""As the Arduino IDE has them; warnings are those of its core."""


@pytest.fixture(scope="module")
def desk(workbench: Workbench) -> Path:
    """The emulated ATmega328P, with its serial port on a socket."""
    if not Path("/usr/include/simavr/sim_avr.h").exists():
        workbench.missing("simavr", "libsimavr-dev")
    program = workbench.folder / "desk"
    gcc = workbench.tool("gcc", "gcc")
    source = EXAMPLES / "atmega/desk.c"
    workbench.run(gcc, "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, source, "-lsimavr")
    return program


@pytest.fixture(scope="module")
def tank(hub: RealHub) -> str:
    """The key of the agent of all tanks."""
    return hub.make_agent("tank", observations=[[1], 0, 20], actions=3, deadline_ms=QUICK_MS)


class Chip(Struct, frozen=True):
    """A firmware, built, and what runs it."""

    device: str
    law: str
    command: list[object]
    value: int = 1
    """Which of its observation the law is of."""
    at_least: int = STEPS - 5
    """Of its steps so many are transitions: a cart falls, and nothing follows an end."""


@pytest.fixture(scope="module")
def lamp(hub: RealHub, workbench: Workbench, desk: Path) -> Chip:
    """On a bare ATmega328P."""
    key = hub.make_agent("dimmer", observations=[[2], 0, 2], actions=3, deadline_ms=QUICK_MS)
    program = workbench.folder / "lamp.elf"
    compiler = workbench.tool("avr-gcc", "gcc-avr avr-libc")
    flags = ["-std=gnu99", "-Wall", "-Wextra", "-Werror", *defined(DEVICE="lamp-avr", KEY=key)]
    workbench.run(compiler, *ATMEGA, *flags, "-o", program, EXAMPLES / "atmega/lamp.c")
    return Chip("lamp-avr", DIMMER, [desk, program, HOST, hub.ready.mqtt])


@pytest.fixture(scope="module")
def uno(hub: RealHub, workbench: Workbench, desk: Path, tank: str) -> Chip:
    """The same chip, with the core of Arduino."""
    if not ARDUINO.exists():
        workbench.missing("the core of Arduino", "arduino-core-avr")
    core = ARDUINO / "cores/arduino"
    folders = (
        core,
        ARDUINO / "variants/standard",
        ARDUINO / "libraries/EEPROM/src",
        EXAMPLES / "c",
    )
    program = workbench.folder / "tank.elf"
    workbench.run(
        workbench.tool("avr-gcc", "gcc-avr avr-libc"), *ATMEGA, *CORE,
        *(f"-I{folder}" for folder in folders),
        *defined(HUB="over a wire", DEVICE="tank-uno", KEY=tank), "-DPORT=1883", "-o", program,
        "-x", "c++", EXAMPLES / "arduino/tank/tank.ino", *sorted(core.glob("*.cpp")),
        "-x", "c", *sorted(core.glob("*.c")),
        "-x", "assembler-with-cpp", *sorted(core.glob("*.S")), "-lm",
    )  # fmt: skip
    return Chip("tank-uno", TANK, [desk, program, HOST, hub.ready.mqtt])


@pytest.fixture(scope="module")
def cart(hub: RealHub, workbench: Workbench) -> Chip:
    """On a bare Cortex-M3."""
    key = hub.make_agent("cart", deadline_ms=QUICK_MS)
    program, example = workbench.folder / "cart.elf", EXAMPLES / "cortex_m"
    workbench.run(
        workbench.tool("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        "-mcpu=cortex-m3", "-mthumb", *STRICT, "-Os", "-ffreestanding", "-nostdlib",
        *defined(DEVICE="cart-m3", KEY=key), "-T", example / "mps2.ld", "-o", program,
        example / "cart.c", example / "start.c", "-lgcc",
    )  # fmt: skip
    board: list[object] = [
        workbench.tool("qemu-system-arm", "qemu-system-arm"),
        "-M", "mps2-an385", "-kernel", program, "-display", "none", "-monitor", "none",
        "-semihosting-config", "enable=on,target=native", *wire(hub),
    ]  # fmt: skip
    return Chip("cart-m3", CART, board, value=2, at_least=STEPS // 2)


@pytest.fixture(scope="module")
def pico(hub: RealHub, workbench: Workbench) -> Chip:
    """A room on a bare RP2040."""
    node = workbench.tool("node", "nodejs")
    if not (ROOT / "node_modules/rp2040js").exists():
        workbench.missing("rp2040js", "rp2040js (make assets)")
    key = hub.make_agent("room", observations=[[1], -50, 80], deadline_ms=QUICK_MS)
    example = EXAMPLES / "rp2040"
    program, image, packed = (workbench.folder / f"room.{kind}" for kind in ("elf", "bin", "uf2"))
    workbench.run(
        workbench.tool("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        "-mcpu=cortex-m0plus", "-mthumb", *STRICT, "-Os", "-ffreestanding", "-nostdlib",
        *defined(DEVICE="room-pico", KEY=key), "-T", example / "ram.ld", "-o", program,
        example / "room.c", example / "start.c", "-lgcc",
    )  # fmt: skip
    workbench.run("arm-none-eabi-objcopy", "-O", "binary", program, image)
    workbench.run(node, example / "uf2.mjs", image, packed)
    return Chip("room-pico", THERMOSTAT, [node, example / "desk.mjs", packed, HOST, hub.ready.mqtt])


@pytest.fixture(scope="module")
def riscv(hub: RealHub, workbench: Workbench, tank: str) -> Chip:
    """A tank on a bare RV32."""
    program, example = workbench.folder / "tank-riscv.elf", EXAMPLES / "riscv"
    workbench.run(
        workbench.tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        "-march=rv32imac", "-mabi=ilp32", *STRICT, "-Os", "-ffreestanding", "-nostdlib",
        *defined(DEVICE="tank-riscv", KEY=tank), "-T", example / "virt.ld", "-o", program,
        example / "tank.c", example / "start.c", "-lgcc",
    )  # fmt: skip
    board: list[object] = [
        workbench.tool("qemu-system-riscv32", "qemu-system-misc"),
        "-M", "virt", "-bios", "none", "-kernel", program,
        "-display", "none", "-monitor", "none", *wire(hub),
    ]  # fmt: skip
    return Chip("tank-riscv", TANK, board)


def defined(**words: str) -> list[str]:
    """Texts that a firmware is built with."""
    return [f'-D{name}="{text}"' for name, text in words.items()]


def wire(hub: RealHub) -> list[str]:
    """A serial port that is the hub's client (QEMU)."""
    place = f"host={HOST},port={hub.ready.mqtt},nodelay=on,reconnect=1"
    return ["-serial", "chardev:hub", "-chardev", f"socket,id=hub,{place}"]


def run_chip(hub: RealHub, workbench: Workbench, chip: Chip) -> None:
    """Until the log has its steps, which are those of its plant."""
    with workbench.running(*chip.command) as process:
        until(
            lambda: steps(hub, chip.device) >= STEPS or process.poll() is not None,
            f"{STEPS} steps",
            timeout_s=RUN_S_MAX,
        )
        assert process.poll() is None, (workbench.folder / "says.txt").read_text()
    assert_true_transitions(hub, chip.device, chip.law, at_least=chip.at_least, value=chip.value)


def test_a_lamp_on_a_bare_atmega(hub: RealHub, workbench: Workbench, lamp: Chip) -> None:
    run_chip(hub, workbench, lamp)


def test_a_tank_with_the_core_of_arduino(hub: RealHub, workbench: Workbench, uno: Chip) -> None:
    run_chip(hub, workbench, uno)


def test_a_cart_on_a_bare_cortex_m3(hub: RealHub, workbench: Workbench, cart: Chip) -> None:
    run_chip(hub, workbench, cart)
    ended = "SELECT DISTINCT ended_by FROM episodes WHERE device = 'cart-m3' AND ended IS NOT NULL"
    assert hub.sql(ended) == [{"ended_by": "terminated"}]


def test_a_room_on_a_bare_rp2040(hub: RealHub, workbench: Workbench, pico: Chip) -> None:
    run_chip(hub, workbench, pico)


def test_a_tank_on_a_bare_risc_v(hub: RealHub, workbench: Workbench, riscv: Chip) -> None:
    run_chip(hub, workbench, riscv)


@pytest.mark.slow  # five chips at once want as many cores; `make firmware` runs it
def test_every_chip_waits_for_a_late_hub_and_goes_on_after_it_was_killed(
    hub: RealHub, workbench: Workbench, lamp: Chip, uno: Chip, cart: Chip, pico: Chip, riscv: Chip
) -> None:
    chips = (lamp, uno, cart, pico, riscv)
    before = {chip.device: steps(hub, chip.device) for chip in chips}
    hub.stop()
    with ExitStack() as stack:
        running = [
            stack.enter_context(workbench.running(*chip.command, says=f"{chip.device}.txt"))
            for chip in chips
        ]

        def until_all_step() -> None:
            for chip in chips:
                wanted = before[chip.device] + FEW
                until(
                    lambda: steps(hub, chip.device) >= wanted,  # noqa: B023 - waited for here
                    f"{FEW} more steps of {chip.device}",
                    timeout_s=RUN_S_MAX,
                )
                before[chip.device] = steps(hub, chip.device)

        hub.start()
        until_all_step()
        hub.kill_nine()
        hub.start()
        until_all_step()
        assert [process.poll() for process in running] == [None] * len(chips)
    for chip in chips:
        assert_true_transitions(hub, chip.device, chip.law, at_least=FEW, value=chip.value)
