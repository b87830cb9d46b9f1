"""The trainer: from committed Events to the next version, live or once more."""
