-- devices: for each device, where in the log its newest and oldest observation, the newest one
-- that follows none, and its newest EPISODE event stand.
SELECT
    device,
    max(seq) FILTER (kind = 2) AS observed,
    min(seq) FILTER (kind = 2) AS oldest,
    max(seq) FILTER (kind = 2 AND first) AS opened,
    max(seq) FILTER (kind = 5) AS ended
FROM log
WHERE kind IN (2, 5)
GROUP BY device
HAVING observed IS NOT NULL
ORDER BY device;
