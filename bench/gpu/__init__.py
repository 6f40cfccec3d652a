"""The contestants of ``bench/gpu.py``, their problems, and the evaluation of their times."""
