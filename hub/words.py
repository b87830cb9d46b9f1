"""The glossary: every noun of the hub, once, as a frozen Struct or a named type.

`make schemas` turns these into the JSON Schemas under `schemas/`. The words follow
MQTT 3.1.1 (session, topic), Sutton & Barto 2018 (observation, action, reward, policy, episode),
Stable-Baselines3 (terminated, truncated) and event sourcing (event, log, fold, seq).

    Device       a thing that sends Observations and is sent Actions
    Session      one connection or login of a Device
    Boot         one run of the Device's own step counter
    Observation  what a Device saw at one step, with the reward of the action before it
    Action       what the Device is told to do next
    Transition   Observation, Action, reward and the next Observation that really followed
    Episode      an unbroken run of Transitions
    Agent        what learns: spaces, algorithm, parameters; its Devices are its Replicas
    Safety       what an Agent's Actions must keep to, whoever chose them
    Policy       one version of what an Agent would do
    Guest        a Policy of an Agent's namesake on another hub, that its Replicas may ask
    Key          opens an Agent to a Device, or the hub to a User's programs
    Claim        a token by which Devices of an Agent get Keys of their own
    User         a person who may ask and operate; owns Agents
    Fact         what an Event says beyond its columns
    Event        one thing that happened, never changed; the log gives it a seq
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Final, Literal, NewType

from msgspec import Struct, field

AgentName = NewType("AgentName", str)
"""`[a-z0-9_-]{1,40}`."""
DeviceId = NewType("DeviceId", str)
"""`[a-z0-9_-]{1,23}`: the longest client id every MQTT 3.1.1 server must take (3.1.3.1)."""
KeyId = NewType("KeyId", str)
ClaimId = NewType("ClaimId", str)
SessionId = NewType("SessionId", int)
"""Counts up over the life of the hub's log; 0 where no session is meant."""
Packet = tuple[str, int, int]
"""What an MQTT message of QoS 1 or 2 is known by when it is sent again: the client's id, empty for
the device itself; its packet id; CRC-32 of the payload."""
Seq = NewType("Seq", int)
"""Place of an Event in one hub's log: gapless from 1, never reused."""
Floats = NewType("Floats", bytes)
"""A vector as little-endian float32 bytes: half of msgpack's floats, read by numpy in place."""

FLOAT_BYTES: Final = 4
EVENT_VERSION: Final = 2
"""Of the events written now; `hub/log/upcast.py` says what changed and reads older ones."""
EXTERNAL: Final = "external"
"""Algorithm of an Agent that is not learnt in the hub: a remote learner acts."""
WINDOW_STEPS: Final = 64
"""A repeat is recognised among this many last steps of a device; older ones are `late`."""


class Kind(IntEnum):
    """What an Event is about. The numbers are stored: never reuse one."""

    HELLO = 1
    OBSERVATION = 2
    ACTION = 3
    REFUSED = 4
    EPISODE = 5
    REWARD = 6
    ADVICE = 7
    UPDATE = 8
    POLICY = 9
    SNAPSHOT = 10
    ADMIN = 11


class Source(IntEnum):
    """Who chose an Action. The numbers are stored: never reuse one."""

    POLICY = 1
    ADVICE = 2
    FALLBACK = 3
    CLAMP = 4
    OVERRIDE = 5


class Code(StrEnum):
    """Why the hub refused what a device sent; docs/device-maker.md says what to do about each."""

    PAYLOAD = "payload"
    """Not JSON, MessagePack or f32, or no message."""
    SHAPE = "shape"
    """Another number of values than the agent declares."""
    TYPE = "type"
    """A value that is no number, or not a whole one where the agent declares choices."""
    RANGE = "range"
    """A value outside of the bounds that the agent declares, NaN or infinite."""
    STEP = "step"
    """The number of a step that is known, with other content."""
    LATE = "late"
    """Behind the newest step, and no repeat of one of the last 64."""
    SIZE = "size"
    """More bytes than a message of the agent may have."""
    RATE = "rate"
    """More messages or bytes than the key or its agent may send."""
    BUSY = "busy"
    """The log can't commit now; nothing of the message is kept."""
    AUTH = "auth"
    """A key that is not accepted, or not for this device or topic."""


class Protocol(StrEnum):
    """How a device reached the hub."""

    MQTT = "mqtt"
    HTTP = "http"
    SHEPHERD = "shepherd"


class EndedBy(StrEnum):
    """Why an Episode ended; all but `terminated` are truncations (Pardo et al. 2018)."""

    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    GAP = "gap"
    REBOOT = "reboot"
    RESET = "reset"
    SILENT = "silent"


# --- what a device sends -----------------------------------------------------------------


class Message(Struct, frozen=True):
    """One observation as a device sends it, before its agent's spaces have been looked at.

    JSON or MessagePack; long names are the same fields: `step obs reward done truncated
    executed boot info first`. Everything but `o` may be absent.
    """

    o: Any
    """A number, a list (nested as the space's shape) or a dict for a Dict space."""
    s: int | None = None
    """The device's step number, u16 (unwrapped, RFC 1982) or wider; absent = by arrival."""
    r: float | None = None
    """Reward of the action of step s-1; ignored on a first step."""
    d: bool = False
    """Terminated: the episode is over, the answer's action is null."""
    tr: bool = False
    """Truncated: cut short, by a time limit say; the answer's action is null."""
    x: Any = None
    """The action really executed for step s-1, where it was not the one sent."""
    b: int | None = None
    """Boot number of the device, u32; a new one opens a new run of the step counter."""
    f: bool = False
    """First step of a boot."""
    i: dict[str, Any] | None = None
    """Anything else; kept in the log. `mask` holds the actions allowed now."""


class Hello(Struct, frozen=True):
    """What a device may say of itself before its first observation; all of it optional."""

    v: int = 1
    """Protocol version."""
    dt: str | None = None
    """Device type."""
    fw: str | None = None
    """Firmware version."""
    b: int | None = None
    """Boot number, u32."""
    enc: Literal["json", "mp", "f32"] | None = None
    """Encoding the device will use."""


class Observation(Struct, frozen=True, gc=False):
    """What a device saw at one step, checked against its agent's observation space."""

    values: Floats
    """float32 (n,), the space flattened as Gymnasium does (Dict: by sorted key)."""
    reward: float | None
    """Of the action before; None on a first step, or when none was sent."""
    terminated: bool
    truncated: bool
    executed: Floats | None
    """float32 (m,); None = the action sent was executed."""
    info: str | None
    """JSON text; None when the device sent none."""
    missing_value: bool = False
    """The reward was NaN or infinite: it counts as missing and the device is told (`range`)."""
    mask: bytes | None = None  # a byte a choice, 1 = allowed; None = all are


# --- what is sent back -------------------------------------------------------------------


class Answer(Struct, frozen=True, gc=False):
    """What a device gets for one observation: durable, with its action, at a seq."""

    step: int
    """As the device numbered it (u16 where it did)."""
    action: int | list[Any] | None
    """int for a Discrete space, else a list, nested for a Box; None after the end of an episode."""
    seq: int
    """Of the observation's event."""
    policy: int | None
    """Version that chose the action; None when no policy did."""
    source: Source | None
    """None when there is no action."""
    values: Floats | None = None
    """The same action as float32 (m,), for binary encodings."""


# --- what is declared --------------------------------------------------------------------

PerComponent = float | list[float | None] | None


class Interlock(Struct, frozen=True):
    """While its condition holds, its action is sent, whoever chose another; the first decides."""

    when: str
    """Over the observation: `o[0] > 80 and not o[1] == 0`; `o["name"][0]` for a Dict space."""
    action: Any


class Safety(Struct, frozen=True, omit_defaults=True):
    """What Actions must keep to: a number for all components or one each; absent = no rule."""

    low: PerComponent = None
    high: PerComponent = None
    """Bounds of each component, within those of the action space."""
    rate_max: PerComponent = None
    """Largest change of each component from one action to the next."""
    dwell_s: PerComponent = None
    dwell_steps: PerComponent = None
    """After a change of a component, how long it stays, and for how many actions."""
    interlocks: list[Interlock] = field(default_factory=list)
    versions_behind_max: int | None = None
    policy_age_s_max: float | None = None
    """How far behind the newest, and how old, the version that acts may be; else the fallback."""
    clamps_max: int | None = None
    """After so many clamped actions of one device in a row the agent is paused."""


Sharing = Literal["shared", "advice", "none"]
"""How the devices of an Agent learn from each other."""
Hubs = Literal["none", "policies", "questions"]
"""What an Agent and its namesakes on other hubs have of each other: nothing, policies, or also
answers: what one sees is told to the other, that says what it would do."""


class Agent(Struct, frozen=True):
    """What learns, as declared; a fold of its `admin` events."""

    name: AgentName
    algorithm: str
    """The class's name in Stable-Baselines3 or sb3-contrib: PPO, DQN, SAC, …; the name of an
    algorithm from elsewhere; or `external`: a remote learner acts."""
    observations: Any
    """A space in Shepherd's syntax: int, `[shape, low, high]` or a dict of spaces."""
    actions: Any
    """A space: int or `[shape, low, high]`."""
    seed: int
    """All of the agent's randomness derives from it."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Of the algorithm, as text, `learning_rate` = "3e-4"; unknown names are refused."""
    sharing: Sharing = "shared"
    owner: str = "admin"
    fallback: Any = "hold"
    """`hold` = the last action again, `none`, or a constant action of the action space."""
    deadline_ms: int | None = 250
    """After this long without the policy's action the fallback is sent; None, for an `external`
    agent only: its device waits for as long as the remote learner takes."""
    missing_reward: float | None = None
    """Stands in for a missing reward in mid-episode; None = the fragment breaks there."""
    learning: bool = True
    status: Literal["active", "paused", "deleted"] = "active"
    safety: Safety | None = None
    """None = the bounds of the action space are all there is."""
    max_episode_steps: int | None = None
    """An episode is cut short after so many actions, and `done` there says no more than that; None
    = its devices end their episodes themselves."""
    silent_s: float | None = None
    """After so long without an observation a device's episode is closed; None = it waits on."""
    cpu_percent: int | None = None
    """Of one core, that its trainer may use; None = all it can get. Its actor is not limited."""
    memory_mb: int | None = None
    """MiB that its trainer may have for itself; beyond it is ended, with an alert. None = all."""
    lag_max: int | None = None
    """Observations that may wait for the trainer before it leaves out; None = the hub's setting."""
    messages_per_s: float | None = None
    bytes_per_s: float | None = None
    """What all of its devices together may send; None = the hub's setting, 0 = no limit."""
    devices_max: int | None = None
    """Devices that may be its; None = the hub's setting."""
    hubs: Hubs = "none"
    """What agents of this name on other hubs get of what it learnt, and it of theirs."""
    reward: str | None = None
    """Over the observation, and instead of what devices send; None = they know it themselves."""


class Publishable(Struct, frozen=True):
    """What a Key may do that stands in a web page for all to read: open sessions and step them."""

    origins: tuple[str, ...]
    """`https://museum.example`: of the pages that may use it."""
    sessions_max: int
    """Open at once."""
    messages_per_s: float
    """Of all of its sessions together, logins included."""


class Rewarding(Struct, frozen=True):
    """What a Key may do that is in a link or behind a button: reward Devices, nothing else."""

    most: float
    """Of one reward, either way."""
    per_minute: float
    """Rewards of all who have it."""


class Key(Struct, frozen=True):
    """An API key as the hub knows it: never the secret, only its SHA-256."""

    id: KeyId
    agent: AgentName | None
    """None for an operator's key."""
    device: DeviceId | None = None
    """None = any device of the agent."""
    user: str | None = None
    publishable: Publishable | None = None
    """None = it is a secret."""
    claim: ClaimId | None = None
    """By which its device got it, or the key that it replaced; None = an operator made it."""
    rewarding: Rewarding | None = None
    """None = it may do more than that."""
    hub: str | None = None
    """Name of a hub that may meet others at this one's broker by it, as far as the user's agents
    go, and do nothing else; None = it is no hub's."""
    hub_of: str | None = None
    """Of a hub's, in place of `user` where it is logged: versions before there were such keys would
    take it for that user's own. None = read, or no hub's."""
    limited_to: AgentName | None = None
    """Of a publishable key and one for rewards, in place of `agent` where it is logged: versions
    before there were such keys would let it do all. None = read, or another key."""


class Claim(Struct, frozen=True):
    """A token that devices redeem for Keys of their own; never the token, only its SHA-256."""

    id: ClaimId
    agent: AgentName
    uses_max: int
    """Devices that may redeem it."""
    expires: int
    """Microseconds since 1970 UTC on the hub's clock."""
    prefix: str = ""
    """The ids of its devices begin so."""
    device_type: str | None = None
    """What its devices say they are, as `dt` in a Hello; None = whatever they say."""


# --- what is logged ----------------------------------------------------------------------


class Event(Struct, frozen=True, array_like=True, gc=False):
    """One row of the log. A column that does not apply to the kind is None.

    An observation and the action that answers it are two events of the same device, boot and step.
    """

    kind: Kind
    ts: int
    """Microseconds since 1970 UTC on the hub's clock; not ordered by seq when the clock is set."""
    agent: str = ""
    device: str = ""
    session: int = 0
    boot: int = 0
    step: int | None = None
    obs: Floats | None = None
    action: Floats | None = None
    executed: Floats | None = None
    reward: float | None = None
    terminated: bool | None = None
    truncated: bool | None = None
    first: bool | None = None
    """This observation does not follow the one before it: no transition ends here."""
    policy: int | None = None
    logprob: float | None = None
    value: float | None = None
    source: Source | None = None
    reason: str | None = None
    latency_us: int | None = None
    """Action: from the arrival of the observation to the choice."""
    device_ts: int | None = None
    payload: str | None = None
    """JSON text: a Fact, or what else the device sent."""
    secret: bytes | None = None
    """SHA-256 of a key or session key; in no view."""
    version: int = EVENT_VERSION
    seq: int = 0
    """0 until the log has given it."""


class User(Struct, frozen=True):
    """A person who may ask or operate; the argon2id hash of the password is in the event."""

    name: str
    """`[a-z0-9_-]{1,40}`."""
    role: Literal["admin", "owner"]
    """An owner sees and changes the own agents only, an admin all."""
