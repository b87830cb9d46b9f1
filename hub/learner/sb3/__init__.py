"""Stable-Baselines3 and sb3-contrib as learners, fed from the log instead of an environment."""
