"""Polling: what is polled, on which threads and by which shard, and the snapshot that results."""
