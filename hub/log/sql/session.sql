-- session: the event with the highest session id.
SELECT coalesce(max(session), 0) AS session, arg_max(seq, session) AS seq FROM log;
