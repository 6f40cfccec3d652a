"""The contestants of ``bench/gpu.py``, what they train, and what is made of their times."""
