"""The only memory: Events, appended durably and read in order."""
