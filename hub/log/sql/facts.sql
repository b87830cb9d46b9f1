-- facts: seqs of all that the hub folds at start. Seqs only: asking for whole rows by these
-- conditions would read every column of the log.
SELECT seq FROM log WHERE kind = 11 OR (kind = 1 AND secret IS NOT NULL)
UNION ALL
SELECT max(seq) FROM log WHERE kind = 9 GROUP BY agent
UNION ALL
SELECT given.seq
FROM log AS given
LEFT JOIN (SELECT device, max(seq) AS newest FROM log WHERE kind = 2 GROUP BY device) AS observed
    ON observed.device = given.device
WHERE given.kind = 6 AND given.seq > coalesce(observed.newest, 0);
