"""Training throughput, in samples per second, by batch size and device."""
