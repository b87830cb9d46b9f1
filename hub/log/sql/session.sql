-- session: the highest session id.
SELECT coalesce(max(session), 0) AS session FROM log;
