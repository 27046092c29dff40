"""What grows with clients, streams, the spool, batches and frames, and what does not."""
