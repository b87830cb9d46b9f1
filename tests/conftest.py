"""What all tests share: how hard hypothesis tries, how often things are broken, and Ctrl-C.

At the end of a run it says what the examples for devices took, of the two minutes they may.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

OF_EXAMPLES: Final = re.compile(r"tests/acceptance/test_(firmware_\w+|emulated_board|examples)\.py")
EXAMPLES_S_MAX: Final = 120
"""Of all tests of the examples together, those marked slow aside."""

# `pytest --hypothesis-profile=NAME` chooses another. A failure prints a blob that brings it back.
settings.register_profile("dev", max_examples=30, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("dev")


def pytest_configure() -> None:
    """Let Ctrl-C be heard by what tests start, also when they run in the background of a shell.

    A shell has what it starts with `&` ignore SIGINT (POSIX, 2.11), and a process hands that down.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make soak-log` asks for more; CI asks for a browser and for what builds firmware."""
    parser.addoption("--faults", type=int, default=6, help="kills and damages of each kind")
    parser.addoption("--image", action="store_true", help="install what the image would")
    parser.addoption("--browser", action="store_true", help="fail where there is no chromium")
    parser.addoption("--boards", action="store_true", help="fail where firmware lacks a tool")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say what the tests of the examples took, with what they set up."""
    seconds = sum(
        report.duration
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
        and OF_EXAMPLES.match(report.nodeid)
        and "slow" not in report.keywords
    )
    if seconds:
        text = f"the examples for devices took {seconds:.0f} s in all, of {EXAMPLES_S_MAX} at most"
        terminalreporter.write_line(text)
