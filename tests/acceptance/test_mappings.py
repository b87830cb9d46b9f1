"""Legacy devices as docs/legacy.md has them: they send what they always did, and learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.registry.mapping_acts import AddMapping
from tests.acceptance.devices import bearer
from tests.intake.mapping.mapped import PAYLOADS, shipped

if TYPE_CHECKING:
    from tests.acceptance.devices import Http
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance


def test_a_controller_that_posts_forms_is_told_on_or_off_and_is_in_the_log(
    hub: RealHub, http: Http
) -> None:
    key = hub.make_agent("boilers", observations=[[2], [-20, 0], [60, 10]])
    hub.ask(AddMapping("boiler", "boilers", shipped("form").mapping))
    form = (PAYLOADS / "form.txt").read_bytes()
    words = set()
    for _ in range(3):
        status, word = http.ask("POST", "/v1/map/boiler?device=boiler-2", form, bearer(key))
        assert status == 200
        words.add(word)
    assert words <= {b"ON", b"OFF"}
    rows = hub.sql(
        "SELECT step, obs, reward, payload->>'raw' AS raw, payload->>'version' AS version "
        "FROM events WHERE kind = 'observation' AND device = 'boiler-2' ORDER BY seq"
    )
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["reward"] for row in rows] == [None, -0.25, -0.25]
    assert {(row["raw"], row["version"]) for row in rows} == {(form.decode(), "1")}
    assert rows[0]["obs"] == pytest.approx([21.5, 1.2])
    taken = "SELECT count(*) FROM transitions WHERE device = 'boiler-2'"
    assert hub.value(taken) == 2, "it is learnt from like any other"
