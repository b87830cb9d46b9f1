"""What an operator types: names, flags and exit codes. The work is elsewhere."""
