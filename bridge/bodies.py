"""What the bodies of requests and answers over HTTP hold; `openapi.py` describes them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from hub.words import Message


class StepRequest(Message, frozen=True, kw_only=True):
    """Body of `POST /v1/step`."""

    device: str | None = None
    """Device id; may be left out with a key of one device."""


class RewardRequest(Struct, frozen=True):
    """Body of `POST /v1/reward`."""

    r: float
    device: str | None = None


class RewardResponse(Struct, frozen=True):
    """Where the reward stands in the log."""

    seq: int


class ClaimRequest(Struct, frozen=True):
    """Body of `POST /v1/claim`."""

    token: str
    device: str
    nonce: str | None = None
    """16 to 64 of A-Z a-z 0-9 _ -, by chance: with it the same key is told again for a while."""
    dt: str | None = None
    """Device type."""


class Ports(Struct, frozen=True):
    """Where the hub listens; 0 = it does not, as with a broker of somebody else's."""

    http: int
    mqtt: int
    ws: int


class ClaimResponse(Struct, frozen=True):
    """A device's own key, and where to use it."""

    device: str
    agent: str
    key: str
    topics: dict[str, str]
    """Of MQTT, by their last levels: `obs`, `act` and so on."""
    ports: Ports
    tls: bool


class RotateRequest(Struct, frozen=True):
    """Body of `POST /v1/key/rotate`; may be absent, and what is in it is not used."""


class RotateResponse(Struct, frozen=True):
    """The key that takes the place of the one it was asked by, which ends when this is used."""

    key: str


class LoginRequest(Struct, frozen=True):
    """Body of `POST /shepherd/login_user/`."""

    apikey: str
    device: str | None = None
    """Absent: the login is device `http-<n>`."""


class LoginResponse(Struct, frozen=True):
    """Either `ok` and a session key, or `error`."""

    ok: bool | msgspec.UnsetType = msgspec.UNSET
    session_key: str | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET


class EnvRequest(Struct, frozen=True):
    """Body of `POST /shepherd/env/`."""

    session_key: str
    obs: Any
    reward: float = 0.0
    done: bool = False
    info: dict[str, Any] | None = None


class EnvResponse(Struct, frozen=True):
    """Either an action (null after done) or `error`."""

    action: int | list[Any] | msgspec.UnsetType | None = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET


class RemoteReset(Struct, frozen=True):
    """Body of `POST /v1/env/{device}/reset`; may be absent, and what else is in it is not used."""


class RemoteStep(Struct, frozen=True):
    """Body of `POST /v1/env/{device}/step`."""

    action: Any
    """Of the agent's action space, for the observation shown last."""
    seq: int | None = None
    """Of that observation; so the same request may be sent again when its answer was lost."""


class RemoteObservation(Struct, frozen=True):
    """What the device sent next, in Gymnasium's words."""

    observation: Any
    reward: float
    """0 after a reset, and where the device sent none."""
    terminated: bool
    truncated: bool
    """By the device; or this does not follow the observation before: reset."""
    info: dict[str, Any]
    """As the device sent it; the hub's own is in `sheepfold`: `seq` and `step` of the observation,
    `executed`, what the device did since the one before, and who chose that, `source`."""


class RemoteSpaces(Struct, frozen=True):
    """What the agent's devices see and do, as declared: body of `GET /v1/env`."""

    agent: str
    observations: Any
    actions: Any
    devices: list[str]


class SqlRequest(Struct, frozen=True):
    """Body of `POST /v1/sql`."""

    query: str
    """One SELECT over the views."""


class Explanation(Struct, frozen=True):
    """Why a device was told what it was told: body of `GET /v1/actions/{seq}`."""

    seq: int
    """Of the action's event."""
    ts: str
    """When it was chosen, UTC."""
    agent: str
    device: str
    session: int
    boot: int
    step: int
    action: int | list[Any] | None
    """What was sent; null where the agent's fallback is `none`."""
    source: str
    """Who chose it: policy, advice, fallback, clamp or override."""
    reason: str | None
    """Why it was not the policy's own: the rules that clamped it, or why the fallback was sent."""
    wanted: int | list[Any] | None
    """What the policy wanted, where something else was sent; null otherwise, or if unknown."""
    policy: int | None
    """The version that chose, or wanted something else."""
    logprob: float | None
    """Log-probability (density, for a Box) of what the policy drew; null when it drew nothing."""
    value: float | None
    """The policy's own estimate of the return."""
    explored: bool | None
    """It drew something else than what it held for the best; null when that is not known, or no
    policy chose."""
    latency_us: int | None
    """From the arrival of the observation to the choice."""
    observation_seq: int | None
    """Of the observation's event; null when it is no longer kept."""
    observation: list[float | None] | None
    """As the log has it: flat, a Dict space by the order of its names."""


class Problem(Struct, frozen=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    device: str | msgspec.UnsetType = msgspec.UNSET
    step: int | msgspec.UnsetType = msgspec.UNSET
