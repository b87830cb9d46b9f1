"""Learners of our own, written as anybody may write one, and what such learners are made of."""
