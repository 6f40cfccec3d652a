"""The installed PyTorch: a build for the CPU or for one version of CUDA, with a driver that may be of another."""

import re
import warnings
from typing import Any

from mlpgpu.backends.cuda_devices import Library, absent, broken, ordinal, with_old_driver, without_driver
from mlpgpu.errors import InputError
from mlpgpu.gpus import dotted

# Without --force-reinstall, pip keeps a CPU build, since it has the same version number.
INDEX = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl"
INSTALL = {12: f"{INDEX}/cu126", 13: f"{INDEX}/cu130"}


def cuda_device(torch: Any, device: str) -> str:
    """Return the name of the CUDA device, after a first computation there; ``cpu`` if ``auto`` finds none.

    Raises
    ------
    InputError
        If there is no such device, or if it does not work.
    """
    library = Library(f"PyTorch {torch.__version__}", torch.version.cuda or "", INSTALL)
    with warnings.catch_warnings():
        # PyTorch warns at length of drivers and GPUs that it was not built for; the computation below is the real test.
        warnings.simplefilter("ignore")
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device == "auto" and not found:
            return "cpu"
        at = 0 if device == "auto" else ordinal(device)
        if not found:
            raise _no_device(torch, device, library)
        if at >= found:
            raise absent(device, library, found)
        try:
            torch.zeros(2, device=f"cuda:{at}").sum().item()
        except Exception as error:
            raise broken(f"cuda:{at}", library, error) from None
    return f"cuda:{at}"


def _no_device(torch: Any, device: str, library: Library) -> InputError:
    if not library.built:
        return InputError(
            f"device {device!r}: {library.label} is a build without CUDA; {library.installs()}, or use device cpu"
        )
    try:
        # `device_count` hides the cause of a failure; `init` raises it.
        torch.cuda.init()
    except Exception as error:
        said = str(error)
        if "Found no NVIDIA driver" in said:
            return without_driver(device, library)
        if too_old := re.search(r"too old \(found version (\d+)\)", said):
            return with_old_driver(device, library, dotted(int(too_old[1])))
        if "No CUDA GPUs are available" not in said:
            return broken(device, library, error)
    return absent(device, library, 0)
