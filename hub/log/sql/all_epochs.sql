-- all_epochs: every time the log was found shorter than what had been acknowledged.
SELECT epoch, epoch_us(began) AS began, lost_first, seq_first, reason FROM epochs ORDER BY epoch;
