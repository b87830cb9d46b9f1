-- tails: seqs of the last $steps observations of each device's latest boot, and of the actions
-- since the oldest of them.
WITH wanted AS (
    SELECT unnest($devices) AS device, unnest($boots) AS boot
),
candidate AS (
    SELECT log.device, kind, seq
    FROM log JOIN wanted ON log.device = wanted.device AND log.boot = wanted.boot
    WHERE kind IN (2, 3) AND seq >= $since
),
since AS (
    SELECT device, min(seq) AS seq
    FROM (
        SELECT device, seq FROM candidate WHERE kind = 2
        QUALIFY row_number() OVER (PARTITION BY device ORDER BY seq DESC) <= $steps
    )
    GROUP BY device
)
SELECT candidate.device, list(candidate.seq) AS seqs, count(*) FILTER (kind = 2) AS observations
FROM candidate JOIN since ON candidate.device = since.device AND candidate.seq >= since.seq
GROUP BY candidate.device;
