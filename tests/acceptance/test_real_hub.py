"""The hub that tests start leaves nothing behind, also where it does not come up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.family import family
from tests.acceptance.real_hub import RealHub

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.acceptance


def test_a_hub_that_is_not_ready_in_time_leaves_no_process(tmp_path: Path) -> None:
    before = family(os.getpid())
    with pytest.raises(AssertionError, match=r"in vain: ready\.json"):
        RealHub(tmp_path / "data").start(timeout_s=0)
    assert family(os.getpid()) == before
