"""*Health*, for admins: the hub's processes and counts, and what it warned of."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get
from litestar.response import Template

from bridge.console import look_up
from bridge.console.desk import AtDesk, ByVisit
from hub.figures import alerts_open

if TYPE_CHECKING:
    from bridge.console.desk import Desk

ALERTS_SHOWN: Final = 50


@get("/health")
async def health_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """How the hub is."""
    visit.sight.admin()
    alerts = await look_up.alerts(desk, visit.sight, ALERTS_SHOWN)
    return desk.page(request, "health.html", alerts=alerts, **now(desk))


def now(desk: Desk) -> dict[str, Any]:
    """How it is at this moment."""
    hub = desk.hub
    counts = hub.status()
    free = shutil.disk_usage(hub.data).free
    return {
        "not_ready": hub.not_ready(),
        "processes": counts.pop("processes"),
        "counts": {name: value for name, value in counts.items() if isinstance(value, int | float)},
        "troubles": [f"{n}: {v}" for n, v in counts.items() if isinstance(v, str)],
        "free_gb": free / 1e9,
        "live_pages": desk.live_pages,
        "raised": alerts_open(hub),
    }


ROUTES: Final = (health_page,)
