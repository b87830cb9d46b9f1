"""Real hubs for the tests: one for a whole file, or a fresh one for those that kill it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import Workbench
from tests.acceptance.devices import Http
from tests.acceptance.real_hub import RealHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KILLS_SMALL: Final = 3
REQUESTS_SMALL: Final = 3000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub that all tests of a file share; each makes an agent of its own."""
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data")
    hub.start()
    yield hub
    hub.end()


@pytest.fixture
def new_hub(tmp_path: Path) -> Iterator[Callable[[str], RealHub]]:
    """Makes hubs in folders of their own, with settings as TOML, not yet started."""
    hubs: list[RealHub] = []

    def make(settings: str) -> RealHub:
        hubs.append(RealHub(tmp_path / f"data-{len(hubs)}", settings))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.end()


@pytest.fixture
def fresh_hub(new_hub: Callable[[str], RealHub]) -> RealHub:
    """A started hub of the test's own, to be killed at will."""
    hub = new_hub("")
    hub.start()
    return hub


@pytest.fixture
def http(hub: RealHub) -> Iterator[Http]:
    """A connection to the shared hub."""
    http = Http(hub.ready.http)
    yield http
    http.close()


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Workbench:
    """Where firmware is built and run; what it needs has to be there where `--boards` says so."""
    required = bool(pytestconfig.getoption("--boards", default=False))
    return Workbench(tmp_path_factory.mktemp("boards"), required=required)


@pytest.fixture
def kills(pytestconfig: pytest.Config) -> int:
    """How often the hub is killed in the test that kills it."""
    # Unknown when pytest was started higher up and did not read this file first.
    return int(pytestconfig.getoption("--kills", KILLS_SMALL))


@pytest.fixture
def moves(pytestconfig: pytest.Config) -> int:
    """How often the hub moves in the test that moves it."""
    return int(pytestconfig.getoption("--moves", 1))


@pytest.fixture
def requests(pytestconfig: pytest.Config) -> int:
    """How much nonsense is sent in the test that sends it."""
    return int(pytestconfig.getoption("--requests", REQUESTS_SMALL))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The large forms: `pytest tests/acceptance/test_kill.py --kills 20`, and `make fuzz`."""
    parser.addoption("--kills", type=int, default=KILLS_SMALL, help="kill -9 of the hub, so often")
    parser.addoption("--moves", type=int, default=1, help="moves of the hub, so many")
    parser.addoption("--requests", type=int, default=REQUESTS_SMALL, help="nonsense, so often")
