"""The durable record: append-only events in a hash chain, and what they amount to, by index."""
