-- running: what each device's running episode has come to. $since is the seq from which on its
-- observations belong to that episode; a device without one gives no row.
WITH wanted AS (
    SELECT unnest($devices) AS device, unnest($since) AS since
),
opened AS (
    SELECT log.device, min(seq) AS seq, arg_min(ts, seq) AS ts
    FROM log JOIN wanted ON log.device = wanted.device AND log.seq >= wanted.since
    WHERE kind = 2 AND seq >= $since_min
    GROUP BY log.device
)
SELECT
    opened.device,
    epoch_us(any_value(opened.ts)) AS started,
    count(*) FILTER (kind = 3) AS actions,
    coalesce(sum(reward) FILTER (kind = 2), 0) AS reward_sum,
    count(*) FILTER (kind = 2 AND reward IS NULL) AS rewards_missing
FROM opened LEFT JOIN log
  ON log.device = opened.device AND log.seq > opened.seq AND kind IN (2, 3) AND log.seq >= $since_min
GROUP BY opened.device;
