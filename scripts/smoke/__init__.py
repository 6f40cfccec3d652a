"""The checks of ``scripts/gpu_smoke.py``, how they are kept apart, and what is shown of them."""
