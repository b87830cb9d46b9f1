"""What all tests share: how hard hypothesis tries."""

from __future__ import annotations

from hypothesis import settings

# `pytest --hypothesis-profile=NAME` chooses another. A failure prints a blob that brings it back.
settings.register_profile("dev", max_examples=30, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("dev")
