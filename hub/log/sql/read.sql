-- read: at most ? events after a seq, of one agent when named.
SELECT * FROM log
WHERE seq > $after AND ($agent IS NULL OR agent = $agent)
ORDER BY seq
LIMIT $count;
