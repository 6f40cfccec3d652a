"""The contestants of ``bench/peers.py``, their turns, and the evaluation of their times."""
