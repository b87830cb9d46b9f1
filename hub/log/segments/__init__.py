"""The log as Parquet files that any tool reads without us, and that we can start again from."""
