"""How NumPy runs a step fast: recorded once, its operations joined into few passes, each on memory made beforehand.

`trace` records what a step does; `schedule` says what runs together; `memory` where results lie; `calls` runs it with
NumPy alone, `source` writes it as a function that Numba compiles; `loop` chooses.
"""
