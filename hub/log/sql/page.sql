-- page: the wanted events of a range of seqs, as they were inserted: by seq, which the reader checks
-- (`columns.by_seq`). Sorted here they would take twice the time. The range is bounded on both
-- sides, so that all other row groups are skipped without being looked at.
SELECT * FROM log
WHERE seq BETWEEN $first AND $last
  AND ($agent IS NULL OR agent = $agent)
  AND ($kinds IS NULL OR list_contains($kinds, kind));
