"""Policies as files, and the line that their versions make in the log."""
