"""The one contract, for every log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.clock import SystemClock
from hub.log import resume
from hub.log.memory import MemoryLog
from hub.log.store import DuckLog
from hub.settings import LogSettings
from tests.contracts.log_contract import LogContract, RecoveringLog
from tests.log.linked import LinkedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hub.log.recover import Recovered


class FileLog(DuckLog):
    """A DuckLog that answers `recover` itself."""

    def recover(self) -> Recovered:
        return resume.recover(self)


class TestMemoryLog(LogContract):
    @pytest.fixture
    def new_log(self) -> Callable[[], RecoveringLog]:
        return MemoryLog


class TestDuckLog(LogContract):
    @pytest.fixture
    def new_log(self, tmp_path: Path) -> Iterator[Callable[[], RecoveringLog]]:
        logs: list[FileLog] = []

        def make() -> FileLog:
            logs.append(FileLog.open(tmp_path, LogSettings(), clock=SystemClock()))
            return logs[-1]

        yield make
        for log in logs:
            log.close()


class TestLogProcess(LogContract):
    @pytest.fixture
    def new_log(self, tmp_path: Path) -> Iterator[Callable[[], RecoveringLog]]:
        logs: list[LinkedLog] = []

        def make() -> LinkedLog:
            logs.append(LinkedLog(tmp_path))
            return logs[-1].open()

        yield make
        for log in logs:
            log.close()
