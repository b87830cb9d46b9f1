-- carry: what a running episode had come to when an older file was left behind.
INSERT INTO carried VALUES ($device, $opened, $steps, $reward_sum, $rewards_missing);
