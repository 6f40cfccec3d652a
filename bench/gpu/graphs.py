"""CUDA graphs of PyTorch functions; on the CPU, which has no graphs, plain calls."""

import torch


def opened(name):
    """Return the device of that name, and make it PyTorch's current device."""
    device = torch.device(name)
    if device.type == "cuda":
        # set_device needs an index, which "cuda" lacks.
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device


def device_of(problem):
    """Open the device of a problem, and set the precision of matrix products."""
    torch.set_float32_matmul_precision("high" if problem.precision == "tf32" else "highest")
    return opened(problem.device)


def captured(function, device):
    """Capture the launches of `function` after a warm-up, and return a function that replays them."""
    if device.type == "cpu":
        function()
        return function
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
