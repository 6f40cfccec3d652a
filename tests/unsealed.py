"""What files of ours hold, to be written anew by somebody who knows of no digest."""

import json

from safetensors import safe_open


def unsealed(path):
    """The arrays of a file by name, and its description without the digest."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = json.loads(file.metadata()["mlpgpu"])
    del content["digest"]
    return arrays, content
