"""What `soma bench` measures: recall on real questions, latency of writes, speed of searches."""
