-- epochs: the current one (the first has no row), the last seq that counts as given, and how many
-- seqs from $first to $last were lost and not given again.
SELECT
    1 + count(*) AS epoch,
    coalesce(max(seq_first) - 1, 0) AS given,
    coalesce(
        sum(seq_first - greatest(lost_first, $first)) FILTER (seq_first <= $last AND seq_first > $first), 0
    )::BIGINT AS lost
FROM epochs;
