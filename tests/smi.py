"""A stand-in for ``nvidia-smi``."""

FIELDS = "name,memory.total,memory.free,driver_version,uuid"
HEADER = "| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda}     |"


def put(folder, *gpus, driver="580.95.05", cuda="13.0", old=False):
    """Write the stand-in into a folder.

    Parameters
    ----------
    folder : path
    *gpus : str
        Name, total and free memory in MiB, and compute capability: ``"L4, 9, 8, 8.9"``.
    driver, cuda : str
        Versions.
    old : bool
        Whether to refuse the query of the compute capability, as an old ``nvidia-smi`` does.
    """
    lines = [gpu.rsplit(", ", 1) for gpu in gpus]
    known = [f"echo '{gpu}, {driver}, GPU-{i}0000000-0000'" for i, (gpu, _) in enumerate(lines)]
    with_capability = [f"{line[:-1]}, {gpu[1]}'" for line, gpu in zip(known, lines, strict=True)]
    asked = "\n".join(with_capability or [":"]) if not old else "echo 'Field is not a valid field to query.'; exit 2"
    path = folder / "nvidia-smi"
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f'"--query-gpu={FIELDS},compute_cap --format=csv,noheader,nounits")\n{asked};;\n'
        f'"--query-gpu={FIELDS} --format=csv,noheader,nounits")\n' + "\n".join(known or [":"]) + ";;\n"
        f'"") echo "{HEADER.format(driver=driver, cuda=cuda)}";;\n'
        "*) exit 2;;\nesac\n"
    )
    path.chmod(0o755)
