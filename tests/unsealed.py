"""The content of a model file without its digest, so that tests can change it and write it again."""

import json

from safetensors import safe_open


def unsealed(path):
    """Return the arrays of a file by name, and its description without the digest."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = json.loads(file.metadata()["mlpgpu"])
    del content["digest"]
    return arrays, content
