"""`/healthz`: the loop turns. `/readyz`: a step sent now would be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import MediaType, Response, get

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from hub.processes import Hub


def health_routes(hub: Hub) -> list[ControllerRouterHandler]:
    """Both without a key, and without details for strangers."""

    @get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
    def healthz() -> str:
        return "ok"

    @get("/readyz", media_type=MediaType.TEXT, sync_to_thread=False)
    def readyz() -> Response[str]:
        reason = hub.not_ready()
        return Response(reason or "ready", status_code=503 if reason else 200)

    return [healthz, readyz]
