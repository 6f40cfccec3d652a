"""Measure the limits of the device: ``python -m gpu.ceilings DEVICE`` prints them as JSON.

Bytes per second of a copy on the device, counting reads and writes; floating-point operations per second of matrix
products, for sizes in the benchmark and for large squares; seconds per launch of a nearly empty kernel, alone and in a
graph.
"""

import json
import statistics
import sys
import time

import torch

from gpu.graphs import captured, opened

ROUNDS, MAX_SECONDS = 15, 2.0
# (rows, inner, columns) of products of a step, and of squares; the CPU has one small product.
PRODUCTS = {
    "cuda": ((200, 784, 128), (8192, 784, 128), (8192, 1024, 1024), (8192, 8192, 8192)),
    "cpu": ((200, 784, 128),),
}
COPIED = {"cuda": 2**32, "cpu": 2**26}
KERNELS = 100


def seconds(function, device):
    """Return the median seconds of synchronised calls."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    function()
    wait()
    taken, began = [], time.perf_counter()
    while len(taken) < ROUNDS and time.perf_counter() - began < MAX_SECONDS:
        start = time.perf_counter()
        function()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def product(shape, precision, device):
    """Return the floating-point operations per second of a product, repeated in a graph."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rows, inner, columns = shape
    a, b = (torch.randn(size, device=device, dtype=dtype) for size in ((rows, inner), (inner, columns)))
    out = torch.empty(rows, columns, device=device, dtype=dtype)
    operations = 2 * rows * inner * columns
    times = max(1, min(100, round(2e11 / operations)))

    def many():
        for _ in range(times):
            torch.mm(a, b, out=out)

    return times * operations / seconds(captured(many, device), device)


def copied(device):
    """Return the bytes per second of a large copy, counting reads and writes."""
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / seconds(lambda: target.copy_(source), device)


def measure(name):
    """Measure all limits, as JSON types."""
    device = opened(name)
    rate = copied(device)
    one = torch.zeros(1, device=device)

    def kernels():
        for _ in range(KERNELS):
            one.add_(1)

    return {
        "copy_bytes_per_second": rate,
        "product_flop_per_second": {
            precision: {"x".join(map(str, shape)): product(shape, precision, device) for shape in PRODUCTS[device.type]}
            for precision in ("float32", "tf32", "bf16")
        },
        "kernel_seconds": seconds(kernels, device) / KERNELS,
        "kernel_in_a_graph_seconds": seconds(captured(kernels, device), device) / KERNELS,
        "pytorch": torch.__version__,
        "cuda": torch.version.cuda,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
