"""CUDA graphs of what PyTorch does; on the CPU, which has none, a call does it again."""

import torch


def opened(name):
    """The device of that name, on which PyTorch works from here on."""
    device = torch.device(name)
    if device.type == "cuda":
        # To be worked on it needs a number, which "cuda" has not.
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device


def device_of(problem):
    """The device of a problem; its products are rounded from here on as the problem has it."""
    torch.set_float32_matmul_precision("high" if problem.precision == "tf32" else "highest")
    return opened(problem.device)


def captured(function, device):
    """What does again all that `function` asks of the device, which is called before to warm up."""
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
