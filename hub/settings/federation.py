"""`[federation]` of the settings: where hubs meet, and the bounds of what they take."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class FederationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[federation]`: agents of the same name on other hubs; docs/hubs.md."""

    broker: Annotated[
        str,
        Meta(
            description="MQTT 5 broker where hubs meet, mqtt://host:port or mqtts://host:port; "
            "empty = this hub keeps to itself."
        ),
    ] = ""
    name: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9_-]{0,40}$",
            description="This hub's name over there, no other's; empty = the id of its log.",
        ),
    ] = ""
    credentials: Annotated[
        str,
        Meta(
            description="File with user:password, or with what 'sheepfold key create --hub' "
            "prints; empty = none."
        ),
    ] = ""
    ca_file: Annotated[str, Meta(description="PEM that mqtts trusts; empty = the system's.")] = ""
    announce_s: Annotated[
        float,
        Meta(gt=0, description="An agent's policies and gains are announced no more often."),
    ] = 10.0
    refresh_s: Annotated[
        float,
        Meta(gt=0, description="A guest is replaced by its newer version no more often."),
    ] = 300.0
    guests_max: Annotated[
        int,
        Meta(ge=0, le=8, description="Networks of other hubs that an agent's replicas may ask."),
    ] = 4
    advisers_max: Annotated[
        int,
        Meta(
            ge=0,
            le=8,
            description="Advisers elsewhere that an agent with --hubs questions asks at each step, "
            "since they have no network to give.",
        ),
    ] = 2
    advice_ms: Annotated[
        float,
        Meta(
            gt=0,
            le=60_000,
            description="An answer that comes later is left out; half of the agent's deadline_ms "
            "at most.",
        ),
    ] = 50.0
    questions_per_s: Annotated[
        float,
        Meta(gt=0, description="That are asked, and that are answered, for all agents together."),
    ] = 200.0
    questions_open_max: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="Asked and not answered yet; above, the next are not asked, and replicas "
            "act by themselves.",
        ),
    ] = 1024
    hubs_max: Annotated[int, Meta(ge=1, le=1024, description="Others heard for one agent.")] = 16
    policy_mb_max: Annotated[
        int, Meta(ge=1, le=256, description="Largest network that is given out or fetched.")
    ] = 16
    fetch_s: Annotated[float, Meta(gt=0, description="A network comes by then, or not.")] = 30.0
    parts_per_s: Annotated[
        int, Meta(ge=1, description="Parts of 16 KiB that are given out, to all hubs together.")
    ] = 128
    messages_per_s: Annotated[
        int,
        Meta(ge=100, description="More than that from the broker, and the hub leaves for a while."),
    ] = 1000
    memory_mb: Annotated[int, Meta(ge=256, description="Of the process for other hubs.")] = 1024
