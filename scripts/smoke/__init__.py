"""The checks of ``scripts/gpu_smoke.py``, their isolation in processes, and their report."""
