"""What the hub and its process for other hubs say to each other, as frames over a socketpair.

hub ──Agents, Ask──▶ federation
hub ◀──Took, Join, Told, Noted, Counted── federation
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec
from msgspec import Struct, structs

from hub.facts import Guest
from hub.frames import frame
from hub.learner.messages import Consult, Counsel, LoggedPolicy
from hub.words import Agent, AgentName


class Namesake(Struct, frozen=True):
    """An agent that takes part, as it stands."""

    agent: Agent
    policy: LoggedPolicy | None
    """The version that acts."""
    begun: int
    """Seq where its learning began."""
    chosen: bool
    """What acts was put in place since it began: there is no newcomer to be helped."""
    guests: list[Guest]


class Agents(Struct, frozen=True, tag="agents"):
    """All agents that take part; sent again when anything of it is another."""

    agents: list[Namesake]


class Ask(Struct, frozen=True, tag="ask"):
    """An actor wants to know what an adviser elsewhere would do."""

    agent: AgentName
    consult: Consult
    until_s: float
    """When its actor waits no more, on the clock that all processes of a machine share."""


class Told(Struct, frozen=True, tag="told"):
    """What it would, or that nobody said so in time."""

    agent: AgentName
    counsel: Counsel


class Took(Struct, frozen=True, tag="took"):
    """These are the agent's guests from now on; their files are there."""

    agent: AgentName
    guests: list[Guest]


class Join(Struct, frozen=True, tag="join"):
    """The agent has learnt nothing yet and is to begin with this policy; its file is there."""

    agent: AgentName
    sha256: str
    name: str
    """`<hub>/<device>` whose it is."""


class Noted(Struct, frozen=True, tag="noted"):
    """Worth a line in the hub's log."""

    text: str


class Counted(Struct, frozen=True, tag="counted"):
    """How it goes with other hubs; what is counted is so since the process started."""

    connected: bool = False
    hubs: int = 0
    """Others that are heard, counted for each agent."""
    fetched: int = 0
    """Networks taken in whole."""
    parts: int = 0
    """Given out."""
    refused: dict[str, int] = {}
    """What was left alone, by reason."""
    asked: int = 0
    """Questions to advisers elsewhere."""
    heard: int = 0
    """Their answers that came in time."""
    late: int = 0
    """Questions that nobody answered in time."""
    answered: int = 0
    """Questions of others."""
    lost_because: str = ""
    """Why the broker was gone when it was gone last; empty = it never was."""

    def after(self, before: Counted) -> Counted:
        """With what processes before this one had counted."""
        refused = Counter(before.refused)
        refused.update(self.refused)
        return structs.replace(
            self,
            fetched=before.fetched + self.fetched,
            parts=before.parts + self.parts,
            refused=dict(refused),
            asked=before.asked + self.asked,
            heard=before.heard + self.heard,
            late=before.late + self.late,
            answered=before.answered + self.answered,
            lost_because=self.lost_because or before.lost_because,
        )


ToFederation = Agents | Ask
FromFederation = Took | Join | Told | Noted | Counted

_encode: Final = msgspec.msgpack.Encoder().encode
decode_to_federation: Final = msgspec.msgpack.Decoder(ToFederation).decode
decode_from_federation: Final = msgspec.msgpack.Decoder(FromFederation).decode


def framed(message: ToFederation | FromFederation) -> bytes:
    """The message as one frame, ready to be sent."""
    return frame(_encode(message))
