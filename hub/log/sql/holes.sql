-- holes: ranges of seqs after $begins that are not there and no epoch explains.
WITH here AS (
    SELECT seq, lag(seq, 1, $begins) OVER (ORDER BY seq) AS before FROM log WHERE seq > $begins
)
SELECT before + 1 AS lost_first, seq AS seq_first
FROM here
WHERE seq > before + 1
  AND NOT EXISTS (SELECT 1 FROM epochs WHERE lost_first <= here.before + 1 AND seq_first >= here.seq)
ORDER BY lost_first;
