"""Who trails, whose rewards are false: what a shared policy is guarded by."""
