"""Which algorithms there are, and what an agent's declaration means to each."""
