"""How much a key and an agent may send, over whatever protocol; counted, and said to the device.

    quotas = Quotas(registry, settings, clock)
    quota = quotas.of(key.id, agent)            # once a session
    quota.take(len(payload))                    # each message; raises `rate`

A key's limits are settings, a publishable key's its own; an agent's stand in its declaration, else
in the settings. What one message may cost is taken from all of them, or from none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import DeviceFault
from hub.registry.buckets import Bucket
from hub.words import Code, KeyId

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.registry.fold import Registry
    from hub.settings import QuotaSettings
    from hub.words import AgentName


class Quota:
    """What the sessions of one key of one agent share; with no limits it costs 50 ns a message."""

    __slots__ = ("_clock", "buckets", "refused")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.buckets: tuple[tuple[str, Bucket, bool], ...] = ()
        """What it limits, in words; the tokens; whether they are bytes."""
        self.refused = 0

    def take(self, size_bytes: int) -> None:
        """One message may come in.

        Raises:
            DeviceFault: `rate`, with the time after which it may; nothing was taken.
        """
        if self.buckets:
            self._take(size_bytes)

    def _take(self, size_bytes: int) -> None:
        now_s = self._clock.monotonic()
        for what, bucket, of_bytes in self.buckets:
            wait_s = bucket.wait_s(now_s, size_bytes if of_bytes else 1)
            if wait_s:
                self.refused += 1
                message = f"over {what}; send it again in {wait_s:.2g} s"
                raise DeviceFault(Code.RATE, message, retry_s=wait_s)
        for _, bucket, of_bytes in self.buckets:
            bucket.take(now_s, size_bytes if of_bytes else 1)


class Quotas:
    """The quotas of all keys and agents."""

    def __init__(self, registry: Registry, settings: QuotaSettings, clock: Clock) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._quotas: dict[tuple[KeyId | None, AgentName], Quota] = {}
        self._keys: dict[KeyId, list[tuple[str, Bucket, bool]]] = {}
        self._agents: dict[AgentName, list[tuple[str, Bucket, bool]]] = {}
        self._refused_before = 0
        """By quotas of what is no more."""

    @property
    def refused(self) -> int:
        """Messages refused for their rate since start."""
        return self._refused_before + sum(quota.refused for quota in self._quotas.values())

    def of(self, key: KeyId | None, agent: AgentName) -> Quota:
        """The quota of a key for one of its agent's devices; None = no key, as after a restart."""
        quota = self._quotas.get((key, agent))
        if quota is None:
            quota = self._quotas[key, agent] = Quota(self._clock)
            self._fill(key, agent, quota)
        return quota

    def changed(self, agent: AgentName) -> None:
        """The agent was declared anew, is gone, or has other keys: that holds from now on."""
        deleted = agent not in self._registry.agents
        limits = self._of_agent(agent)
        if deleted or _named(limits) != _named(self._agents.get(agent, [])):
            self._agents.pop(agent, None)  # else it owes what it owed
        for key, name in [one for one in self._quotas if one[1] == agent]:
            if deleted or (key is not None and self._registry.key(key) is None):
                self._refused_before += self._quotas.pop((key, name)).refused
                self._keys.pop(key or KeyId(""), None)
            else:
                self._fill(key, name, self._quotas[key, name])

    def _fill(self, key: KeyId | None, agent: AgentName, quota: Quota) -> None:
        if agent not in self._agents:
            self._agents[agent] = self._of_agent(agent)
        if key is not None and key not in self._keys:
            settings, shown = self._settings, self._registry.key(key)
            per_s, bytes_per_s = settings.key_messages_per_s, settings.key_bytes_per_s
            if shown is not None and shown.publishable is not None:
                per_s = shown.publishable.messages_per_s
            if shown is not None and shown.rewarding is not None:
                per_s = shown.rewarding.per_minute / 60
            self._keys[key] = self._buckets("this key", per_s, bytes_per_s)
        of_key = [] if key is None else self._keys[key]
        quota.buckets = (*of_key, *self._agents[agent])

    def _of_agent(self, agent: AgentName) -> list[tuple[str, Bucket, bool]]:
        spec, settings = self._registry.agents.get(agent), self._settings
        messages, size = settings.agent_messages_per_s, settings.agent_bytes_per_s
        if spec is not None and spec.agent.messages_per_s is not None:
            messages = spec.agent.messages_per_s
        if spec is not None and spec.agent.bytes_per_s is not None:
            size = spec.agent.bytes_per_s
        return self._buckets(f"agent {agent!r}", messages, size)

    def _buckets(
        self, whose: str, messages_per_s: float, bytes_per_s: float
    ) -> list[tuple[str, Bucket, bool]]:
        """0 = no limit."""
        burst_s = self._settings.burst_s
        limits = ((messages_per_s, "messages", False), (bytes_per_s, "bytes", True))
        return [
            (f"{rate:g} {unit} a second of {whose}", Bucket(rate, burst_s=burst_s), of_bytes)
            for rate, unit, of_bytes in limits
            if rate
        ]


def _named(buckets: list[tuple[str, Bucket, bool]]) -> list[str]:
    return [name for name, _, _ in buckets]
