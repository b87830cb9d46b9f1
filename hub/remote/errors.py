"""What can go wrong with a device that is elsewhere.

RemoteFault              the hub refused; the message says what and why
├── HubUnreachable       nobody answers at the address, for as long as was to be waited
└── DeviceSilent         the hub answers, the device sent nothing for so long
"""

from __future__ import annotations


class RemoteFault(Exception):
    """The hub refused what was asked of a device.

    Attributes:
        code: the hub's word for it, as `range` or `auth`; empty when it said none.
        device: empty when it is about none.
    """

    def __init__(self, message: str, *, code: str = "", device: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.device = device


class HubUnreachable(RemoteFault, ConnectionError):
    """Nobody answers at the address."""


class DeviceSilent(RemoteFault, TimeoutError):
    """The device sent no observation in time."""
