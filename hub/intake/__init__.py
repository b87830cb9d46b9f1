"""The outside world becomes observations at their place: `mqtt` here, HTTP by way of the bridge."""
