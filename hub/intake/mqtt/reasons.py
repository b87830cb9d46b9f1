"""MQTT 5's reason codes (2.4), and which of them a refusal gets."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from hub.errors import Malformed
from hub.intake.mqtt.wire import ConnectCode
from hub.words import Code


class Reason(IntEnum):
    """2.4; those that the hub says, or that say something to it."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION_EXISTED = 0x11
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_ID_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_NAME_INVALID = 0x90
    PACKET_ID_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    SHARED_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


FAILURE: Final = 0x80
"""From here on a reason is one for not having done it."""

OF_CONNECT: Final = {
    ConnectCode.BAD_PROTOCOL: Reason.UNSUPPORTED_PROTOCOL_VERSION,
    ConnectCode.BAD_CLIENT_ID: Reason.CLIENT_ID_NOT_VALID,
    ConnectCode.UNAVAILABLE: Reason.SERVER_UNAVAILABLE,
    ConnectCode.BAD_CREDENTIALS: Reason.BAD_USER_NAME_OR_PASSWORD,
    ConnectCode.NOT_AUTHORIZED: Reason.NOT_AUTHORIZED,
}
"""What a CONNECT is refused with."""

OF_FAULT: Final = {
    Code.PAYLOAD: Reason.PAYLOAD_FORMAT_INVALID,
    Code.SHAPE: Reason.PAYLOAD_FORMAT_INVALID,
    Code.TYPE: Reason.PAYLOAD_FORMAT_INVALID,
    Code.RANGE: Reason.PAYLOAD_FORMAT_INVALID,
    # 3.4.2.1: "valid, but the receiver is not willing to accept it"
    Code.STEP: Reason.IMPLEMENTATION_SPECIFIC,
    Code.LATE: Reason.IMPLEMENTATION_SPECIFIC,
    Code.BUSY: Reason.IMPLEMENTATION_SPECIFIC,
    # 2.4: "an implementation or administrative imposed limit"; a PUBACK can't say 0x95
    Code.SIZE: Reason.QUOTA_EXCEEDED,
    Code.RATE: Reason.QUOTA_EXCEEDED,
    Code.AUTH: Reason.NOT_AUTHORIZED,
}
"""What a PUBACK or PUBREC says of a publish that is refused."""


class Breach(Malformed):
    """Malformed, with the reason that an MQTT 5 client is told.

    Attributes:
        reason: for its CONNACK or DISCONNECT.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: Malformed) -> Reason:
    """What an MQTT 5 client is told."""
    return error.reason if isinstance(error, Breach) else Reason.MALFORMED_PACKET
