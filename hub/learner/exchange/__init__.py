"""Policies from others and for others, as files; nobody vouches for what comes in."""
