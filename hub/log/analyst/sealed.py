"""Which sealed files there are now; the manifest is read again when it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hub.log.segments.files import is_secrets
from hub.log.segments.manifest import FILE_NAME, HUB, Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.segments.manifest import Segment


class Shelf(NamedTuple):
    """What the manifest said."""

    number: int
    """Counts up each time it was read."""
    upto: int
    """All events up to this seq are sealed."""
    dropped_upto: int
    """After this seq nothing was dropped by retention."""
    segments: list[Segment]
    """Files of events that are there, newest first."""

    @property
    def agents(self) -> frozenset[str]:
        """Who has files, as in their paths."""
        return frozenset(segment.agent for segment in self.segments if segment.agent != HUB)


class SealedFiles:
    """The manifest of one log, read when it has changed.

    Args:
        folder: `DATA/segments`, which may be absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, ...] | None = None
        self._newest = Shelf(0, 0, 0, [])

    def look(self, *, again: bool = False) -> Shelf:
        """The files as they are now.

        Args:
            again: read the manifest even if it looks the same: a file of it was not there.

        Raises:
            HubFault: the manifest is damaged.
        """
        stamp = self._look_at_manifest()
        if again or stamp != self._stamp:
            manifest = Manifest.read(self._folder)
            segments = [segment for segment in manifest.retained if not is_secrets(segment)]
            # Newest first: ORDER BY seq DESC LIMIT 1000 looks into one file and not into all.
            segments.sort(key=lambda segment: segment.seq_last, reverse=True)
            self._newest = Shelf(
                self._newest.number + 1, manifest.seq_last, manifest.dropped_upto, segments
            )
            self._stamp = stamp
        return self._newest

    def _look_at_manifest(self) -> tuple[int, ...] | None:
        try:
            stat = (self._folder / FILE_NAME).stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns
