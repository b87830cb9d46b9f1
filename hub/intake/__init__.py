"""The outside world becomes observations at their place: MQTT here, HTTP by way of the bridge."""
