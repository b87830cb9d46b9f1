"""`/reward/<device>`: a page with two large buttons, for whoever has its link and no account.

    http://hub/reward/lamp-7#KEY

The key stands behind the `#`, so that no server is told it and no log has it; it may reward that
device, within its bounds, and nothing else (`Rewarding`). The page is the same for all.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template

from bridge.console.app import HEADERS
from bridge.console.desk import ROOT
from hub.topics import is_device_id

PAGE_HEADERS: Final = HEADERS | {"referrer-policy": "no-referrer", "cache-control": "no-store"}


@get("/reward/{device:str}", include_in_schema=False)
async def buttons_page(device: FromPath[str]) -> Template:
    """The page; whether there is such a device, a key is needed to learn."""
    if not is_device_id(device, reserved=True):
        raise NotFoundException("No device is called that.")
    context: dict[str, Any] = {"device": device, "root": ROOT}
    return Template("reward.html", context=context, headers=PAGE_HEADERS)
