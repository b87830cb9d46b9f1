"""A placed step gets its action, is logged with it, and is answered."""
