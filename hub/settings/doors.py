"""Settings of the doors: MQTT, HTTP and the console, TLS, quotas."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]


class MqttSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[mqtt]`: the door for MQTT devices."""

    port: Annotated[Port, Meta(description="TCP port for devices; 0 = any free one.")] = 1883
    ws_port: Annotated[
        Port, Meta(description="Port for MQTT over WebSocket; 0 = any free one.")
    ] = 8083
    base: Annotated[str, Meta(description="First levels of every topic.")] = "rl/v1"
    broker: Annotated[
        str,
        Meta(
            description="Another broker to use instead of the hub's own, as "
            "mqtt://user:password@host:port or mqtts://…; empty = the hub is the broker. Better in "
            "the environment, as SHEEPFOLD__MQTT__BROKER: it holds a password."
        ),
    ] = ""
    broker_ca_file: Annotated[
        str, Meta(description="Certificates trusted for mqtts://, PEM; empty = the system's.")
    ] = ""
    broker_share: Annotated[
        str,
        Meta(
            description="Name of a shared subscription there, for hubs that stand in for each "
            "other; empty = none."
        ),
    ] = ""
    broker_under_way_max: Annotated[
        int,
        Meta(
            ge=1,
            le=65_535,
            description="Messages it may send before the first of them is in the log (MQTT 5).",
        ),
    ] = 1000
    broker_retry_s_max: Annotated[
        float, Meta(gt=0, description="Longest wait before it is tried again.")
    ] = 10.0
    connect_timeout_s: Annotated[
        float, Meta(gt=0, description="A socket that has not sent CONNECT by then is closed.")
    ] = 5.0
    claim_s_max: Annotated[
        float,
        Meta(
            gt=0, description="A connection by a claim token, which fetches a key, is closed then."
        ),
    ] = 60.0
    connect_bytes_max: Annotated[
        int,
        Meta(ge=128, description="Largest CONNECT; nobody unknown may make the hub buffer more."),
    ] = 1024
    packet_bytes_min: Annotated[
        int, Meta(ge=256, description="Packet limit of every device; a large space raises it.")
    ] = 16_384
    connections_max: Annotated[int, Meta(ge=1, description="Sockets held at once.")] = 10_000
    address_connections_max: Annotated[
        int, Meta(ge=1, description="Sockets of one address; many devices may share one.")
    ] = 10_000
    strangers_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Sockets that have not shown a key; above, the one that has waited longest "
            "is closed.",
        ),
    ] = 1024
    failures_per_minute: Annotated[
        float,
        Meta(
            gt=0,
            description="Refused logins of one address; above, the next of them are answered "
            "late. A right key is never.",
        ),
    ] = 30.0
    people_max: Annotated[
        int,
        Meta(ge=1, description="MQTT sessions of people's clients, those that are away too."),
    ] = 100
    person_sessions_max: Annotated[
        int, Meta(ge=1, description="The same of one user, so that nobody takes the others' room.")
    ] = 32
    person_filters_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Subscriptions of one of them; above, the next is refused. Home Assistant "
            "takes two a device.",
        ),
    ] = 512
    hub_messages_per_s: Annotated[
        float,
        Meta(
            gt=0,
            description="Of another hub that meets others here, each up to 20 KB; what is more "
            "waits at its side.",
        ),
    ] = 500.0
    hub_retained_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Topics that one of them keeps here for others: two an agent. Above, its "
            "connection is ended.",
        ),
    ] = 512
    hub_write_bytes_max: Annotated[
        int,
        Meta(
            ge=65_536,
            description="Unsent bytes for one of them; above, it is disconnected. All that is "
            "retained, and parts of networks, come faster than a slow line takes them.",
        ),
    ] = 4_194_304
    retained_bytes_max: Annotated[
        int, Meta(ge=16, description="Largest `status` of a device, which is kept for others.")
    ] = 1024
    state_s: Annotated[
        float,
        Meta(gt=0, description="How often a device's `state` is published while it moves on."),
    ] = 1.0
    home_assistant: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$",
            description="Discovery prefix of Home Assistant, `homeassistant` unless it was changed "
            "there: devices are announced to it; empty = they are not, and what was is taken back.",
        ),
    ] = ""
    unacknowledged_max: Annotated[
        int,
        Meta(
            ge=1, description="Observations of one socket not yet durable; above, reading pauses."
        ),
    ] = 64
    write_bytes_max: Annotated[
        int, Meta(ge=1024, description="Unsent bytes for one device; above, it is disconnected.")
    ] = 262_144


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[http]`: the door for HTTP devices, operators and the console."""

    port: Annotated[Port, Meta(description="TCP port; 0 = any free one.")] = 8000
    app: Annotated[
        str, Meta(description="Front end as module:function; the hub knows it by this name only.")
    ] = "bridge.app:open_bridge"
    session_idle_s: Annotated[
        float,
        Meta(
            gt=0,
            description="A Shepherd session unused for so long expires, and a full WebSocket on "
            "which nothing is answered for so long is closed.",
        ),
    ] = 1800.0
    body_bytes_max: Annotated[int, Meta(ge=1024, description="Largest request body.")] = 1_048_576
    connections_max: Annotated[int, Meta(ge=1, description="Sockets held at once.")] = 10_000
    keep_alive_s: Annotated[
        int,
        Meta(
            ge=1,
            description="A connection on which no request came for so long is closed; devices that "
            "step more rarely connect anew for each step.",
        ),
    ] = 75
    request_s_max: Annotated[
        float,
        Meta(
            gt=0,
            description="A connection whose request is not whole after so long is closed, so that "
            "who never ends one takes nobody's place.",
        ),
    ] = 120.0
    metrics: Annotated[
        Literal["loopback", "key", "off"],
        Meta(
            description="Who may read /metrics: whoever asks from this machine and not through a "
            "proxy, and admins by key; or by key only; or nobody."
        ),
    ] = "loopback"
    metrics_agents_max: Annotated[
        int, Meta(ge=0, description="Agents with series of their own there; the others are one.")
    ] = 100
    ws_waiting_max: Annotated[
        int,
        Meta(ge=1, description="Frames of one WebSocket not yet answered; above, reading pauses."),
    ] = 256
    origins: Annotated[
        str,
        Meta(
            description="Origins whose web pages may use the hub, as https://a.example, with "
            "spaces between them; * = all."
        ),
    ] = "*"


class ConsoleSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[console]`: the pages at `/console/`."""

    session_idle_s: Annotated[
        float, Meta(gt=0, description="A login that was not used for so long is over.")
    ] = 7200.0
    session_s_max: Annotated[
        float, Meta(gt=0, description="A login is over after so long, however much it was used.")
    ] = 43_200.0
    sessions_max: Annotated[
        int, Meta(ge=1, description="Logins at once; one more ends the one unused for longest.")
    ] = 1000
    cookie_secure: Annotated[
        bool,
        Meta(description="Cookies over TLS only; set it where the console is behind a TLS proxy."),
    ] = False
    login_free: Annotated[
        int,
        Meta(ge=1, description="Wrong passwords in a row before the next has to wait, doubling."),
    ] = 5
    login_wait_s_max: Annotated[
        float, Meta(gt=0, description="Longest such wait: nobody is locked out for ever.")
    ] = 60.0
    live_s: Annotated[
        float,
        Meta(ge=0.5, description="Between two updates of an open page: at most two a second."),
    ] = 1.0
    pages_live_max: Annotated[
        int, Meta(ge=1, description="Open pages that are kept up to date; others are as loaded.")
    ] = 64
    episodes_max: Annotated[
        int, Meta(ge=100, description="Newest episodes of an agent that its curve is drawn from.")
    ] = 4000
    upload_mb_max: Annotated[
        int,
        Meta(ge=1, le=1024, description="Largest policy file that a page takes; the command more."),
    ] = 32


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[tls]`: for all doors at once; read again on SIGHUP."""

    certificate: Annotated[
        str, Meta(description="PEM file, with what leads to its root; empty = plain text.")
    ] = ""
    key: Annotated[
        str, Meta(description="PEM file of its private key; empty = it is in the same file.")
    ] = ""
    client_ca: Annotated[
        str,
        Meta(
            description="PEM file of who signs devices' certificates: one with the device's id as "
            "common name stands for a key over MQTT; HTTP asks for keys. Empty = keys only."
        ),
    ] = ""
    client_required: Annotated[
        bool, Meta(description="Refuse whoever shows no such certificate, at every door.")
    ] = False
    plain_text: Annotated[
        bool,
        Meta(description="Speak plain text elsewhere than on loopback; where TLS ends before it."),
    ] = False


class QuotaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[quotas]`: what keys and agents may send; 0 = no limit, an agent may have its own."""

    key_messages_per_s: Annotated[
        float, Meta(ge=0, description="Messages of all devices that use one key; 0 = no limit.")
    ] = 0.0
    key_bytes_per_s: Annotated[float, Meta(ge=0, description="The same in bytes.")] = 0.0
    agent_messages_per_s: Annotated[
        float,
        Meta(
            ge=0, description="Messages of all devices of one agent that has no limit of its own."
        ),
    ] = 0.0
    agent_bytes_per_s: Annotated[float, Meta(ge=0, description="The same in bytes.")] = 0.0
    burst_s: Annotated[
        float, Meta(gt=0, description="Who was silent for so long may send all of that at once.")
    ] = 2.0
    devices_max: Annotated[
        int, Meta(ge=1, description="Devices of an agent that has no limit of its own.")
    ] = 10_000


class KeySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[keys]`: how devices come by keys of their own, and change them."""

    overlap_s: Annotated[
        float,
        Meta(
            ge=0,
            description="After `key rotate` the old key is accepted for so long, a device's at "
            "most until the new one is used.",
        ),
    ] = 86_400.0
    claim_again_s: Annotated[
        float,
        Meta(
            gt=0,
            description="A device that redeemed a claim token may ask for its key again for so "
            "long: its power may fail between the answer and its flash.",
        ),
    ] = 86_400.0
    failures_per_minute: Annotated[
        float,
        Meta(
            gt=0,
            description="Wrong claim tokens over HTTP of one address; above, the next is told to "
            "wait. A right one never is.",
        ),
    ] = 30.0
