"""Devices with a Gymnasium environment, as they are outside: alone or many, with faults by seed."""
