"""Contestants on a GPU."""

from peers.contestants import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Contestant

# By default, JAX would allocate most of the memory that all share.
NO_PREALLOCATION = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

CONTESTANTS = {
    "products": Contestant("products alone, in a graph", "gpu.products:Products", "floor", GREY, needs=("torch",)),
    "captured": Contestant("mlpgpu, captured", "gpu.ours:Captured", "epoch", BLUE, own=True),
    "eager": Contestant("mlpgpu, --no-capture", "gpu.ours:Eager", "epoch", SKY, own=True),
    "torch-step": Contestant("PyTorch, a graph per step", "gpu.pytorch:Step", "epoch", VERMILION, needs=("torch",)),
    "torch-epoch": Contestant("PyTorch, a graph per epoch", "gpu.pytorch:Epoch", "epoch", ORANGE, needs=("torch",)),
    "torch-compiled": Contestant(
        "PyTorch, compiled, a graph per epoch", "gpu.pytorch:CompiledEpoch", "epoch", PURPLE, needs=("torch",)
    ),
    "jax": Contestant("JAX, a scan", "gpu.jax_scan:Scan", "epoch", GREEN, needs=("jax",), environment=NO_PREALLOCATION),
}
# Only on request, because it takes long to compile.
ON_REQUEST = ("torch-compiled",)
