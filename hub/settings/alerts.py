"""`[alerts]` of the settings: from when on somebody should see to it, and who is told."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class AlertSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[alerts]`: what the hub notices by itself; docs/watching.md."""

    look_s: Annotated[
        float, Meta(gt=0, description="How often the hub looks; no step waits for it.")
    ] = 10.0
    hold_s: Annotated[
        float,
        Meta(
            ge=0,
            description="A cause that comes and goes must last so long before it is an alert, and "
            "be gone for so long before that is over.",
        ),
    ] = 60.0
    moment_s: Annotated[
        float,
        Meta(
            ge=0,
            description="What happened at a moment and is over, a clock that jumped say, stays "
            "open for so long: an hour, so that whoever looks sees it.",
        ),
    ] = 3600.0
    silent_s: Annotated[
        float,
        Meta(
            ge=0,
            description="After so long without an observation a device is silent, or after its "
            "agent's silent_s where that is longer. A reboot and a new Wi-Fi take minutes; 0 = "
            "never.",
        ),
    ] = 900.0
    silent_named_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Silent devices of an agent that are an alert each, and as many that share "
            "an id; the others of it are one together, for then it is not about a device.",
        ),
    ] = 8
    same_id_times: Annotated[
        int,
        Meta(
            ge=0,
            le=32,
            description="So many takeovers of one device's MQTT connection by another within "
            "same_id_s are two devices under one id: each comes in anew when the other has. One "
            "device with a bad line is taken over now and then; one that was silent for 15 s, from "
            "its own address, does not count; 0 = never.",
        ),
    ] = 8
    same_id_s: Annotated[
        float,
        Meta(gt=0, description="Within so long; some clients wait a minute until they try again."),
    ] = 600.0
    lag_s: Annotated[
        float,
        Meta(
            ge=0,
            description="A trainer that is behind (lag_max) for so long does not catch up by "
            "itself.",
        ),
    ] = 300.0
    return_episodes: Annotated[
        int,
        Meta(
            ge=0,
            description="Whole episodes of an agent that a mean return is of, at least two of each "
            "device; fewer vary too much. 0 = returns are not watched.",
        ),
    ] = 20
    return_fall: Annotated[
        float,
        Meta(
            gt=0,
            description="A return has fallen when it is below the best before by this share of it, "
            "and by more than chance.",
        ),
    ] = 0.25
    disk_free_mb: Annotated[
        float,
        Meta(
            ge=0,
            description="Free disk space below which somebody should make room, four times where "
            "the log stops (disk_free_mb_min); more where two checkpoints of all agents need it.",
        ),
    ] = 384.0
    clock_jump_s: Annotated[
        float,
        Meta(gt=0, description="A clock that was set by more than this; NTP slews by far less."),
    ] = 2.0
    verify_s: Annotated[
        float,
        Meta(
            ge=0,
            description="How often all segments are read and compared with what was written, at "
            "the lowest priority; a day, for a disk that has begun to fail. 0 = never.",
        ),
    ] = 86_400.0
    webhook: Annotated[
        str,
        Meta(
            description="Where each alert is POSTed when it is raised and when it is over, as "
            "https://host/path; empty = nowhere. http:// is for this machine or your own network."
        ),
    ] = ""
    webhook_secret: Annotated[
        str,
        Meta(
            description="Signs what is sent (HMAC-SHA256), 16 characters or more. Better in the "
            "environment, as SHEEPFOLD__ALERTS__WEBHOOK_SECRET."
        ),
    ] = ""
    webhook_ca_file: Annotated[
        str, Meta(description="PEM that an https:// webhook is known by; empty = the system's.")
    ] = ""
    webhook_timeout_s: Annotated[
        float, Meta(gt=0, le=600, description="From the connection to the answer; then once more.")
    ] = 10.0
    webhook_tries_max: Annotated[
        int, Meta(ge=1, le=100, description="So often one is tried, then counted as failed.")
    ] = 8
    webhook_retry_s_first: Annotated[
        float, Meta(gt=0, description="Wait before the second try; doubles from then on.")
    ] = 1.0
    webhook_retry_s_max: Annotated[float, Meta(gt=0, description="The longest such wait.")] = 300.0
    webhook_waiting_max: Annotated[
        int, Meta(ge=1, description="Alerts that wait to be sent; above, the oldest are dropped.")
    ] = 256
