"""Simulated devices that learn CartPole live, and `sheepfold demo`: all of it outside the hub."""
