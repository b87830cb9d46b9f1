"""Who may do what, and what learns: folds of the log's facts."""
