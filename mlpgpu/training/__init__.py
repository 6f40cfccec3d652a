"""From settings and arrays to a trained network."""
