"""Replicas with networks of their own, on a real hub: alone, with advice, killed and gone on."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.acceptance.devices import walkers
from tests.acceptance.people import Person, add_user
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Sharing
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

NETWORKS: Final = """
SELECT count(DISTINCT payload ->> 'device') FROM events
WHERE kind = 'update' AND agent = 'cart' AND policy > {after}
"""
"""Devices whose own network was updated since a version."""


def newest(hub: RealHub) -> int:
    return int(hub.value("SELECT coalesce(max(version), -1) FROM policies WHERE agent = 'cart'"))


@pytest.mark.parametrize("sharing", ["none", "advice"])
def test_each_device_learns_by_a_network_of_its_own_over_every_protocol(
    fresh_hub: RealHub, tmp_path: Path, sharing: Sharing
) -> None:
    hub = fresh_hub
    key = hub.make_agent("cart", sharing=sharing)
    devices = walkers(hub, key, rest_s=0.002)
    for device in devices:
        device.start()
    try:
        until(
            lambda: hub.value(NETWORKS.format(after=-1)) == len(devices), "all learn", timeout_s=90
        )
        os.kill(hub.processes["trainer-cart"], signal.SIGKILL)
        os.kill(hub.processes["actor-cart"], signal.SIGKILL)
        version = newest(hub)
        again = NETWORKS.format(after=version)
        until(lambda: hub.value(again) == len(devices), "all learn again", timeout_s=90)
    finally:
        for device in devices:
            device.stop()
    (came,) = hub.sql("SELECT flatten(list(devices ORDER BY version)) AS d FROM policies")
    assert len(came["d"]) == len(set(came["d"])) == len(devices)
    advised = int(hub.value("SELECT count(*) FROM events WHERE source = 'advice'"))
    judged = hub.sql("SELECT * FROM advice ORDER BY seq")
    assert (advised > 0, bool(judged)) == (sharing == "advice",) * 2
    for row in judged:
        assert row["device"] in came["d"]
        assert row["adviser"] in (None, *came["d"])
        assert row["adviser"] != row["device"]
        assert row["weight"] is not None
        assert row["version"] is not None
    if sharing == "advice":
        _assert_shown(hub)
    exported = tmp_path / "one.zip"
    done = hub.command("policy", "export", "cart", "--device", came["d"][1], "--to", str(exported))
    assert done.returncode == 0, done.stderr
    assert exported.stat().st_size > 1000
    refused = hub.command("policy", "export", "cart", "--device", "x", "--to", str(exported))
    assert refused.returncode != 0
    assert "has no network of its own" in refused.stderr
    rebuilt: Any = msgspec.json.decode(hub.command("rebuild", "cart").stdout.splitlines()[-1])
    assert rebuilt["equal"], rebuilt


def _assert_shown(hub: RealHub) -> None:
    """What advice gained each pair, and all together, is on the agent's page as SQL has it.

    The trainer may still be judging the last episodes.
    """
    add_user(hub, "root", "admin")
    with Person(hub) as root:
        root.log_in("root")
        until(lambda: _is_shown(hub, root.see("/agents/cart")), "the page shows what SQL has")


def _is_shown(hub: RealHub, page: str) -> bool:
    pairs = hub.sql("SELECT device, adviser, episodes, gain FROM gains WHERE agent = 'cart'")
    rows = [f"<td>{row['device']}</td><td>{row['adviser']}</td>" for row in pairs]
    episodes = sum(row["episodes"] for row in pairs)
    number = r"-?[\d.,e-]+"  # tiny ones have an exponent
    together = rf"together {number}( ± {number})? more .* over {episodes:,} episode"
    return bool(pairs) and all(row in page for row in rows) and bool(re.search(together, page))
