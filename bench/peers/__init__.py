"""The contestants of ``bench/peers.py``, how they take turns, and what is made of their times."""
