"""Samples a second of training by batch size, on one device beside the other."""
