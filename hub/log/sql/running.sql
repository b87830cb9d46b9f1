-- running: what each device's running episode has come to up to $upto. $since is the seq from which
-- on its observations belong to that episode; a device without one gives no row. Of an episode that
-- began in an older file ($begins: where this one does), `carried` has what came before.
WITH wanted AS (
    SELECT unnest($devices) AS device, unnest($since) AS since
),
opened AS (
    SELECT log.device, min(seq) AS seq, arg_min(ts, seq) AS ts
    FROM log JOIN wanted ON log.device = wanted.device AND log.seq >= wanted.since
    WHERE kind = 2 AND seq >= $since_min AND seq <= $upto
    GROUP BY log.device
),
counted AS (
    SELECT
        opened.device,
        any_value(opened.seq) AS opened,
        epoch_us(any_value(opened.ts)) AS started,
        count(log.seq) AS actions,
        coalesce(sum(reward), 0) AS reward_sum,
        count(log.seq) FILTER (reward IS NULL) AS rewards_missing
    FROM opened LEFT JOIN log
      ON log.device = opened.device
     AND log.seq > greatest(opened.seq, $begins)
     AND log.seq <= $upto
     AND kind = 2
     AND log.seq >= $since_min
    GROUP BY opened.device
)
SELECT
    device,
    opened,
    started,
    counted.actions + coalesce(carried.actions, 0) AS actions,
    counted.reward_sum + coalesce(carried.reward_sum, 0) AS reward_sum,
    counted.rewards_missing + coalesce(carried.rewards_missing, 0) AS rewards_missing
FROM counted LEFT JOIN carried USING (device, opened);
