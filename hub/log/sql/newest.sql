-- newest: the highest version of an event, and an event that has it.
SELECT coalesce(max(version), 0) AS version, arg_max(seq, version) AS seq FROM log;
