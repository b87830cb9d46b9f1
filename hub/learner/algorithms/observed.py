"""Which observations a learner takes for measurements, and which for images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.spaces import BYTE_MAX, Box, Dict

if TYPE_CHECKING:
    from hub.spaces import Space

IMAGE_AXES: Final = 3


def is_measured(space: Space) -> bool:
    """Whether its values have a scale to be learnt: choices have none, and bytes a known one."""
    return isinstance(space, Box) and space.dtype == "float32"


def is_image(space: Space) -> bool:
    """Whether it is what Stable-Baselines3 takes for pixels: three axes of bytes from 0 to 255."""
    return (
        isinstance(space, Box)
        and space.dtype == "uint8"
        and len(space.shape) == IMAGE_AXES
        and set(space.low) == {0.0}
        and set(space.high) == {float(BYTE_MAX)}
    )


def has_images(space: Space) -> bool:
    """Whether it is an image, or a Dict with one among its parts."""
    return any(map(is_image, space.spaces.values() if isinstance(space, Dict) else (space,)))


def channels_axis(image: Box) -> int:
    """Which axis of an image holds its channels: the shortest, as in Stable-Baselines3."""
    return image.shape.index(min(image.shape))
