"""A step as one CUDA graph: what it does is recorded, written as a few kernels and products, and captured.

`passes.py` decides which operations share a kernel, `kernels.py` writes them, `products.py` multiplies matrices,
`program.py` gives all of it memory, and `loop.py` captures and replays it. `function.py` launches what is evaluated.
"""
