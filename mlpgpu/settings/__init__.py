"""The settings of a run: their defaults, ranges and help."""
