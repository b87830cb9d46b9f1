"""SQL of people, in a process of its own: one set of views over sealed files and what is newer."""
