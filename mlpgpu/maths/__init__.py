"""The mathematics of a multilayer perceptron: pure functions, written against the array API standard.

Every function takes the array namespace `xp` first, takes and returns arrays, and modifies none. Leading axes, written
``...`` in the shapes, are batch axes: parameters of shape ``(models, n_parameters)`` train many models at once, and a
loss then has shape ``(models,)``.
"""
