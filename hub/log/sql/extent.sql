-- extent: seq of the last event, and how many stand after $begins.
SELECT coalesce(max(seq), 0) AS last, count(*) FILTER (seq > $begins) AS rows FROM log;
