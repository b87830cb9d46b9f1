"""What pages say of many devices, and what that costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from bridge.console.agents import agent_now
from bridge.console.devices import heard
from bridge.console.rates import DEVICES_SHOWN, LOOK_S, Rates
from hub.alerts.standing import Standing
from hub.intake.device import Device
from hub.words import AgentName, DeviceId

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from bridge.console.desk import Desk
    from hub.processes import Hub
    from tests.bridge.rooms import Rooms

MANY: Final = DEVICES_SHOWN + 200
CART: Final = AgentName("cart")


@pytest.fixture
def desk(rooms: Rooms) -> Desk:
    """Over many devices, of which the last by name were heard last, and two never."""
    rooms.make_agent(CART)
    rooms.clock.seconds += MANY
    for i in range(MANY):
        id_ = DeviceId(f"d{i:05}")
        rooms.registry.devices[id_] = CART
        device = rooms.sessions.devices[id_] = Device(id_)
        device.taken, device.heard_s = (i if i > 1 else 0), float(i)
    names = {"clock": rooms.clock, "registry": rooms.registry, "sessions": rooms.sessions}
    nothing: dict[str, Any] = {}
    gate = SimpleNamespace(connections=nothing)
    pool = SimpleNamespace(awake=lambda _: False, troubles=lambda _: [])
    alerts = SimpleNamespace(standing=Standing())
    hub = SimpleNamespace(**names, gate=gate, pool=pool, alerts=alerts)
    return cast("Desk", SimpleNamespace(hub=hub, rates=Rates(cast("Hub", hub))))


def test_only_the_devices_that_are_shown_are_looked_at_closely(
    desk: Desk, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    inner = Rates._pulse

    def counted(self: Rates, ids: list[DeviceId]) -> Any:
        made.append(len(ids))
        return inner(self, ids)

    monkeypatch.setattr(Rates, "_pulse", counted)
    sight = cast("Sight", SimpleNamespace(devices=lambda: rooms.registry.devices))
    desk.rates.look()
    for _ in range(2):
        page = heard(desk, sight)
        assert page["count"] == MANY
        assert [row[0] for row in page["rows"]][:2] == [f"d{MANY - 1:05}", f"d{MANY - 2:05}"]
        assert len(page["rows"]) == len(made) == DEVICES_SHOWN, "once for each look"
    now = agent_now(desk, rooms.registry.agents[CART])
    assert len(made) == DEVICES_SHOWN + 1
    assert (len(now["devices"]), now["more_devices"]) == (DEVICES_SHOWN, 200)
    assert now["pulse"].devices == MANY


def test_a_part_that_pages_have_alike_is_made_once_for_each_look(desk: Desk, rooms: Rooms) -> None:
    made: list[str] = []

    def make() -> str:
        made.append("")
        return f"part {len(made)}"

    desk.rates.look()
    assert [desk.rates.once(("devices", who), make) for who in ("", "", "ann", "")] == [
        "part 1", "part 1", "part 2", "part 1",
    ]  # fmt: skip
    rooms.clock.seconds += 2 * LOOK_S
    desk.rates.look()
    assert desk.rates.once(("devices", ""), make) == "part 3"


def test_the_next_look_sees_what_came_since(desk: Desk, rooms: Rooms) -> None:
    device = DeviceId("d00001")
    desk.rates.look()
    assert desk.rates.device(device).taken == 0
    rooms.sessions.devices[device].taken = 3
    rooms.clock.seconds += 2 * LOOK_S
    desk.rates.look()
    assert desk.rates.device(device).taken == 3
    assert desk.rates.agents([CART])[CART].taken == 3 + sum(range(2, MANY))
