"""A device as Home Assistant is to show it: the payload of MQTT device discovery.

By https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. Names are its long
ones, and topics stand in full: it refuses `~` in a device's payload. Values come from the device's
`state`, by templates; nothing is published for it alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from hub.spaces import Box, Discrete
from hub.topics import device_topic, discovery_id, hub_status

if TYPE_CHECKING:
    from hub.registry.fold import Spec
    from hub.words import DeviceId

STATE_LETTERS_MAX: Final = 255
"""Of an entity's state; a longer one Home Assistant refuses."""
STEP_MIN: Final = 0.001
"""The smallest of its numbers."""
STEPS: Final = 100
"""About so many from one end of a setpoint to the other."""
COMMANDED: Final = 1
"""QoS of what a person does."""

Document = dict[str, Any]


def describe(
    device: DeviceId, spec: Spec, *, base: str, version: str, keeps_status: bool
) -> Document:
    """The payload.

    Args:
        device: of this agent.
        spec: the agent.
        base: first levels of the hub's topics.
        version: of the hub.
        keeps_status: the device says on `status` whether it is there; else only the hub does.
    """
    known_by = f"sheepfold_{discovery_id(base, device)}"
    places = [hub_status(base), *([device_topic(base, device, "status")] if keeps_status else [])]
    components = _components(spec, base, device)
    for name, component in components.items():
        if len(component) > 1:
            component["unique_id"] = f"{known_by}_{name}"
    return {
        "device": {
            "identifiers": [known_by],
            "name": device,
            "manufacturer": "Sheepfold",
            "model": f"{spec.agent.name} ({spec.agent.algorithm})",
        },
        "origin": {"name": "Sheepfold", "sw_version": version},
        "availability": [{"topic": topic} for topic in places],
        "availability_mode": "all",
        "components": components,
    }


def setpoint(spec: Spec) -> tuple[float, float] | None:
    """The bounds of an action that is one number between two, and so can be set by a slider.

    Those of the agent's safety rules, where they are narrower; None where the action is no such.
    """
    space, safety = spec.actions, spec.agent.safety
    if not isinstance(space, Box) or len(space.low) != 1 or space.dtype != "float32":
        return None
    low, high = space.low[0], space.high[0]
    if safety is not None:
        low = max(low, _only(safety.low, -math.inf))
        high = min(high, _only(safety.high, math.inf))
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _components(spec: Spec, base: str, device: DeviceId) -> dict[str, Document]:
    def topic(leaf: str) -> str:
        return device_topic(base, device, leaf)

    state = topic("state")
    components: dict[str, Document] = {
        "return": {
            "platform": "sensor",
            "name": "Return",
            "icon": "mdi:chart-line",
            "state_topic": state,
            "value_template": "{{ value_json.ret }}",
            "state_class": "measurement",
            "suggested_display_precision": 2,
        },
        "last_action": {
            "platform": "sensor",
            "name": "Last action",
            "icon": "mdi:gesture-tap-button",
            "state_topic": state,
            "value_template": _last_action(spec),
        },
        "steps": {
            "platform": "sensor",
            "name": "Steps",
            "icon": "mdi:counter",
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": "{{ value_json.steps }}",
            "state_class": "total_increasing",
        },
        "learning": {
            "platform": "switch",
            "name": "Learning",
            "icon": "mdi:school",
            "entity_category": "config",
            "state_topic": state,
            "value_template": "{{ value_json.learn }}",
            "command_topic": topic("cmd/learn"),
            "payload_on": "ON",
            "payload_off": "OFF",
            "qos": COMMANDED,
        },
        "restart": {
            "platform": "button",
            "name": "Restart episode",
            "device_class": "restart",
            "entity_category": "config",
            "command_topic": topic("cmd/reset"),
            "qos": COMMANDED,
        },
    }
    return components | _acting(spec, state, topic("cmd/override"))


def _acting(spec: Spec, state: str, override: str) -> dict[str, Document]:
    """What a person acts by; where the action is no setpoint, that there is no such any more."""
    bounds = setpoint(spec)
    if bounds is None:  # the device may have been another agent's, whose action is one
        platforms = {"setpoint": "number", "override_ends": "sensor", "release": "button"}
        return {name: {"platform": platform} for name, platform in platforms.items()}
    low, high = bounds
    return {
        "setpoint": {
            "platform": "number",
            "name": "Setpoint",
            "state_topic": state,
            "value_template": _last_action(spec),
            "command_topic": override,
            "min": low,
            "max": high,
            "step": 10.0 ** math.floor(math.log10(max((high - low) / STEPS, STEP_MIN))),
            "mode": "box",
            "qos": COMMANDED,
        },
        "override_ends": {
            "platform": "sensor",
            "name": "Override ends",
            "device_class": "timestamp",
            "state_topic": state,
            "value_template": "{{ value_json.over | as_datetime if value_json.over else none }}",
        },
        "release": {
            "platform": "button",
            "name": "Back to the policy",
            "icon": "mdi:robot",
            "command_topic": override,
            "payload_press": "OFF",
            "qos": COMMANDED,
        },
    }


def _last_action(spec: Spec) -> str:
    """Template: one number as such, several as text; none before the first."""
    space = spec.actions
    if isinstance(space, Discrete):
        return "{{ value_json.act }}"
    if isinstance(space, Box) and len(space.low) == 1:
        number = "value_json.act" + "[0]" * len(space.shape)
        return f"{{{{ {number} if value_json.act is not none else none }}}}"
    text = f"(value_json.act | tojson)[:{STATE_LETTERS_MAX}]"
    return f"{{{{ {text} if value_json.act is not none else none }}}}"


def _only(rule: float | list[float | None] | None, otherwise: float) -> float:
    """A rule of one component."""
    bound = rule[0] if isinstance(rule, list) else rule
    return otherwise if bound is None else bound
