-- reach: the seq that the log can't end after, found without a look at the rows themselves: where it
-- begins, what it has, and what was lost of it.
SELECT
    coalesce((SELECT max(value::BIGINT) FROM meta WHERE key = 'upto'), 0)
    + (SELECT count(*) FROM log)
    + (SELECT coalesce(sum(seq_first - lost_first), 0)::BIGINT FROM epochs) AS last;
