"""The mathematics of a multilayer perceptron, pure, against the array API standard.

Every function takes the array namespace `xp` first, takes arrays and returns arrays, and changes
nothing. Axes in front of those named in a docstring pass through: parameters of shape
``(models, n_parameters)`` train many models at once, and a loss then has shape ``(models,)``.
"""
