"""The actor: from an Observation and a version to an Action, in numpy."""
