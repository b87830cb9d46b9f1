-- add_epoch: from here on seqs count from $seq_first; those from $lost_first are gone.
INSERT INTO epochs VALUES ($epoch, make_timestamp($began), $lost_first, $seq_first, $reason);
