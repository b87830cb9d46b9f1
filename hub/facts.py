"""Facts: what an Event says beyond its columns, by kind; JSON in its `payload`.

A Fact is never changed once events have it. What is added has a default, so that every log that was
ever written still reads; a field that is not known stays in the text.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from hub.mappings import Mapping, MappingName
from hub.words import (
    Agent,
    Claim,
    ClaimId,
    Code,
    DeviceId,
    EndedBy,
    Hello,
    Key,
    KeyId,
    Packet,
    Protocol,
    User,
)


class AgentMade(Struct, frozen=True, tag="agent_made"):
    """An Agent was declared, or declared anew with changes (then all of it stands here)."""

    agent: Agent
    by: str


class Alert(Struct, frozen=True, tag="alert"):
    """Something that happened and an operator should know of; the event names agent and device."""

    message: str
    by: str = "hub"


class AlertRaised(Struct, frozen=True, tag="alert_raised"):
    """Something is wrong and somebody should see to it, until it is cleared; docs/watching.md.

    The event names agent and device, or the agent alone, or neither: then it is the hub's own. An
    alert is its rule, agent and device, and is open once.
    """

    rule: str
    """Which noticed it: `silent`, `disk`, … A name that an older hub does not know is no harm."""
    says: str
    do: str
    since: int
    """When its cause was first seen, microseconds since 1970 UTC."""
    figures: dict[str, float] = field(default_factory=dict)
    """What it was founded on; a name ends in its unit."""
    by: str = "hub"


class AlertCleared(Struct, frozen=True, tag="alert_cleared"):
    """The alert of this rule about the event's agent and device is over: its cause is gone."""

    rule: str
    says: str
    by: str = "hub"


class AgentRestarted(Struct, frozen=True, tag="agent_restarted"):
    """An Agent forgot its Policy and begins anew; the versions it had stay in the log."""

    agent: Agent
    """As it stands, with another seed."""
    version: int
    """Its next Policy has this number: none is given twice."""
    by: str


class Origin(Struct, frozen=True):
    """Whose log a Policy was trained from, all at once, rather than from its own Agent's."""

    agent: str
    position: int
    """Seq of the last event that could go in."""
    transitions: int
    """Those that did."""


class PolicyChosen(Struct, frozen=True, tag="policy_chosen"):
    """An operator put a Policy in place; learning goes on from it. The next event is the Policy."""

    version: int
    """Its number from now on; whatever the trainer had made under it was not logged."""
    sha256: str
    """Of its file, which is kept for good: an imported one can't be made again from the log."""
    how: Literal["imported", "promoted", "rolled_back", "trained_again", "joined"]
    """`joined` = the hub itself, which had learnt nothing yet, took it from another hub."""
    parent: int | None
    """The version that has the same file; None for one that came from outside."""
    trained: int | None
    """The newest version the trainer made before: where a trainer started later reads on."""
    trained_sha256: str | None
    by: str
    origin: Origin | None = None
    """Of one that was trained from another Agent's log; else None."""


class Guest(Struct, frozen=True):
    """A Policy of an Agent's namesake on another hub, which may advise Replicas here."""

    name: str
    """`<hub>/<device>`: the adviser in actions and Episodes."""
    hub: str
    device: str
    """Whose network it is over there; `*` = of all devices."""
    version: int
    """Of the Policy over there."""
    sha256: str
    """Of the network's file here."""


class GuestsTaken(Struct, frozen=True, tag="guests_taken"):
    """Who may advise an Agent's Replicas from other hubs from now on: all of them, or none."""

    guests: list[Guest]
    by: str = "hub"


class KeyMade(Struct, frozen=True, tag="key_made"):
    """A Key was made; its SHA-256 is in the event's `secret`."""

    key: Key
    by: str


class KeyRevoked(Struct, frozen=True, tag="key_revoked"):
    """A Key stopped being accepted."""

    id: KeyId
    by: str


class KeyReplaced(Struct, frozen=True, tag="key_replaced"):
    """A Key was made in place of another, its SHA-256 in `secret`; until one goes, both hold."""

    key: Key
    replaces: KeyId
    until: int | None
    """Microseconds since 1970 UTC: the other is revoked then at the latest; None = not for time."""
    by: str


class ClaimMade(Struct, frozen=True, tag="claim_made"):
    """A Claim was made; the SHA-256 of its token is in the event's `secret`."""

    claim: Claim
    by: str


class ClaimRevoked(Struct, frozen=True, tag="claim_revoked"):
    """Nobody redeems a Claim any more; the Keys that came of it stay."""

    id: ClaimId
    by: str


class Claimed(Struct, frozen=True, tag="claimed"):
    """A Device redeemed a Claim for a Key; the Key's SHA-256 is in the event's `secret`."""

    key: Key
    claim: ClaimId
    nonce: str | None
    """SHA-256 of what the device asks again by, as hex; None = it can't."""
    dt: str | None
    """What the device says it is."""
    by: str


class ClaimRefused(Struct, frozen=True, tag="claim_refused"):
    """A Device showed the token of a Claim, and it was not for it."""

    claim: ClaimId
    device: str
    """As it called itself, 40 characters of it."""
    message: str
    by: str


class DeviceAdded(Struct, frozen=True, tag="device_added"):
    """A Device belongs to the event's agent from now on."""

    device: DeviceId
    by: str


class DeviceForgotten(Struct, frozen=True, tag="device_forgotten"):
    """A Device belongs to no agent any more, and the key of its payloads was destroyed."""

    device: DeviceId
    by: str


class UserMade(Struct, frozen=True, tag="user_made"):
    """A User was added, or given another password or role (then all of it stands here)."""

    user: User
    by: str


class UserRemoved(Struct, frozen=True, tag="user_removed"):
    """A User may do nothing any more, and neither may the User's keys."""

    name: str
    by: str


class LoggedIn(Struct, frozen=True, tag="logged_in"):
    """A User showed the password in the console."""

    name: str
    by: str


class LoggedOut(Struct, frozen=True, tag="logged_out"):
    """A User left the console, or was shown out: removed, or given another password."""

    name: str
    by: str


class LoginRefused(Struct, frozen=True, tag="login_refused"):
    """Somebody gave a name and a password that do not belong together."""

    name: str
    """As typed, 40 characters of it; there may be no such User."""
    by: str


class Overridden(Struct, frozen=True, tag="overridden"):
    """A person acts for the event's Device: it is told the event's action; without one no more."""

    until_us: int
    """Hub time at which it ends by itself."""
    by: str


class CurveCleared(Struct, frozen=True, tag="curve_cleared"):
    """The console's curve of the event's agent begins here; all before it stays in the log."""

    by: str


class CheckpointsDeleted(Struct, frozen=True, tag="checkpoints_deleted"):
    """Files of older Policy versions of the event's agent were removed; the log keeps the rest."""

    files: int
    by: str


class MappingMade(Struct, frozen=True, tag="mapping_made"):
    """From now on devices of the event's agent may send as a Mapping says."""

    name: MappingName
    version: int
    """Counts up from 1 for each name; observations name it in their payload."""
    mapping: Mapping
    by: str


class MappingRemoved(Struct, frozen=True, tag="mapping_removed"):
    """Nothing is read by a Mapping any more."""

    name: MappingName
    by: str


class Sealed(Struct, frozen=True, tag="sealed"):
    """All events from `seq_first` to `seq_last` stand in Parquet segments too."""

    seq_first: int
    seq_last: int
    rows: int
    files: int
    sha256: str
    """Of the manifest's line, which names the files."""


class SessionOpened(Struct, frozen=True, tag="session_opened"):
    """A Device connected or logged in; for Shepherd its session key's SHA-256 is in `secret`."""

    protocol: Protocol
    hello: Hello | None = None
    key: KeyId | None = None


class EpisodeEnded(Struct, frozen=True, tag="episode_ended"):
    """An Episode is over; the event's step is its last observation's."""

    episode: int
    """Counts up from 1 for each device."""
    steps: int
    """Actions taken."""
    total_reward: float
    """The return, undiscounted (Sutton & Barto 2018, eq. 3.7)."""
    started: int
    """Microseconds since 1970 UTC."""
    ended_by: EndedBy
    steps_total: int = 0
    """Actions the device has taken in all its episodes, this one too; older logs do not say."""
    by: str | None = None
    """The person who reset it; None where nobody did."""
    packet: Packet | None = None


class Rewarded(Struct, frozen=True, tag="rewarded"):
    """A person's reward; the number is the event's. Without `by` the device itself said it."""

    by: str | None = None
    packet: Packet | None = None


class Refusal(Struct, frozen=True, tag="refusal"):
    """A device sent something the hub could not take."""

    code: Code
    message: str


class PolicyMade(Struct, frozen=True, tag="policy_made"):
    """A Policy version is a file and may act from now on; the event's policy is its number."""

    sha256: str
    """Of the file's bytes; the file is named by it."""
    parent: int | None
    position: int
    """Seq of the last event the trainer had read when it made this version."""
    metrics: dict[str, float] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    """Those that it tells apart and its parent did not, or by another sharing; by slot."""


class Advised(Struct, frozen=True, tag="advised"):
    """An Episode of a Replica that may take advice, as the trainer judged it by then.

    The event names the device and, as its policy, the version that knows of it.
    """

    adviser: str | None
    """The device whose advice it took; None = nobody's."""
    total_reward: float
    """The Episode's return."""
    expected: float
    """Mean return of the device's episodes before, whoever advised; the newest count most."""
    unadvised: float | None
    """The same of those without advice; None before the first."""
    weight: float
    """Episodes with this adviser that its next choice is founded on, faded."""
    seq: int
    """Of the Episode's last observation."""


GuardDecision = Literal["control", "own", "rejoined", "dropped", "muted", "unmuted"]


class Guarded(Struct, frozen=True, tag="guarded"):
    """What the guard of a shared Policy decided for a Device, and what that was founded on.

    `control`: it trails its peers, and a network of its own is tried beside the shared Policy;
    `own`: that earns more, and acts from now on; `rejoined`: it no longer does; `dropped`: it never
    did. `muted`: its rewards are not what its peers' would have been, and no longer train the
    shared Policy; `unmuted`: they are again.
    """

    decision: GuardDecision
    own: float | None
    """Mean return of its last Episodes by its own network; None without any."""
    shared: float | None
    """The same by the shared Policy."""
    flock: float | None
    """Of a `control`, the median of its peers' returns; else None."""
    episodes: int
    """That each mean is of, at least."""
    relation: float | None
    """Of (un)muted: of its rewards to its peers' for the like, -1 (reverse) to 1; else None."""
    peers: float | None
    """The same of its peers' rewards among each other."""
    seq: int
    """Of the last observation that it was founded on."""


class Updated(Struct, frozen=True, tag="updated"):
    """The trainer changed the weights: enough to do it again from the log."""

    parent: int
    position_first: int
    position_last: int
    """Seqs of the first and last event whose transitions went in."""
    transitions: int
    gradient_steps: int
    """Counted in all since the agent began."""
    sha256: str
    duration_ms: float
    dropped: int = 0
    """Transitions left out as too old or too many; off-policy, gradient steps as too many."""
    skipped: list[tuple[int, int]] = field(default_factory=list)
    gathered: list[tuple[int, int]] = field(default_factory=list)
    """First and last seq of runs left out of training, and of those at which it was put off."""
    device: str | None = None
    critic: str | None = None
    """Whose network it changed, None = that of all; and whose critic that began with: a peer's."""


Fact = (
    AgentMade
    | Alert
    | AlertRaised
    | AlertCleared
    | AgentRestarted
    | PolicyChosen
    | Advised
    | GuestsTaken
    | Guarded
    | KeyMade
    | KeyRevoked
    | KeyReplaced
    | ClaimMade
    | ClaimRevoked
    | Claimed
    | ClaimRefused
    | DeviceAdded
    | DeviceForgotten
    | UserMade
    | UserRemoved
    | LoggedIn
    | LoggedOut
    | LoginRefused
    | CurveCleared
    | CheckpointsDeleted
    | MappingMade
    | MappingRemoved
    | Overridden
    | Sealed
    | SessionOpened
    | EpisodeEnded
    | Rewarded
    | Refusal
    | PolicyMade
    | Updated
)
