"""Run a training step as a CUDA graph: trace it, generate a few kernels and matrix products, and capture those.

`passes.py` fuses operations into kernels, `kernels.py` generates their source, `products.py` multiplies matrices,
`program.py` allocates memory, and `loop.py` captures and replays the graph. `function.py` runs evaluation and
prediction without a graph.
"""
