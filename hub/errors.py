"""Everything that can go wrong, as one tree; the class says whose fault it is.

    SheepfoldError
    ├── DeviceFault        a device sent something we can't take: refuse, log, carry on
    ├── Malformed          bytes that are not the protocol: close the connection
    ├── Unheard            another hub said something that is of no use here: count, carry on
    ├── AccessDenied       a key, user or topic that is not allowed here
    ├── OperatorFault      a command or setting that can't be carried out: say what to do
    └── HubFault           ours: stop the part that failed, restart it from the log
        └── LogUnavailable   nothing can be made durable now

A message says what happened, to which device and seq, and what to do.
"""

from __future__ import annotations

from typing import Final

from hub.words import Code

NEWER: Final = (
    "Install the newer version again, or restore a backup from before the upgrade into another "
    "folder"
)
"""What to do about data of a newer version, whatever met them."""


class SheepfoldError(Exception):
    """Base of all errors raised on purpose."""


class DeviceFault(SheepfoldError):
    """What a device sent was refused; it alone pays for it.

    Attributes:
        code: the one word for it, sent on the `err` topic.
        step: the device's step number, None when it could not be read.
        retry_s: seconds after which the same may be taken; None where that is not known.
    """

    def __init__(
        self, code: Code, message: str, *, step: int | None = None, retry_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.step = step
        self.retry_s = retry_s


class Unheard(SheepfoldError):
    """What another hub said is left alone; nobody here is worse off.

    Attributes:
        reason: the one word it is counted under.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class AccessDenied(SheepfoldError):
    """A key, password or topic was not accepted. The message never says which part was wrong."""


class OperatorFault(SheepfoldError):
    """What an operator asked can't be done as asked; the message says what to do instead."""


class HubFault(SheepfoldError):
    """Something of ours failed."""


class LogUnavailable(HubFault):
    """The log can't commit now. Nothing was acknowledged; the same message may be sent again."""


class Malformed(SheepfoldError):
    """Bytes that are not the protocol they should be: the connection is closed, nothing logged."""
