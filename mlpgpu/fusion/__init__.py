"""Run a training step fast on NumPy: trace it once, and fuse its operations into few passes over preallocated memory.

`trace` records the operations, `schedule` fuses them, `memory` allocates their results. `calls` runs them with NumPy
alone, `source` generates a function for Numba to compile, and `loop` chooses between the two.
"""
