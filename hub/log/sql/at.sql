-- at: the events with these seqs.
SELECT * FROM log WHERE seq IN (SELECT unnest($seqs)) AND seq >= $first AND seq <= $last ORDER BY seq;
