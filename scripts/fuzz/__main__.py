"""Fuzz the parsers: ``python -m scripts.fuzz all --runs 100000``."""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.fuzz.targets import TARGETS

# Limits in seconds and megabytes for one file; exceeding them counts as a crash.
_TIMEOUT, _RESIDENT_MB = 5, 2048
HEADINGS = ("target", "executions", "seconds", "a second", "crashes", "edges")


def main() -> int:
    """Fuzz one target or all, print a Markdown table, and return the number of crashes as the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--runs", type=int, default=100_000, help="executions of each target (default: 100000)")
    parser.add_argument("--seconds", type=int, default=0, help="time limit of each target (default: none)")
    parser.add_argument("--corpus", type=Path, help="folder to keep the inputs found, and to start from")
    given = parser.parse_args()
    print(f"| {' | '.join(HEADINGS)} |\n| --- |{' --: |' * 5}", flush=True)
    names = list(TARGETS) if given.target == "all" else [given.target]
    return sum(_fuzz(name, given.runs, given.seconds, given.corpus) for name in names)


def _fuzz(name: str, runs: int, seconds: int, corpus: Path | None) -> int:
    """Fuzz a target in a separate process, which libFuzzer exits; print its row, and return 1 for a crash."""
    with tempfile.TemporaryDirectory(prefix="mlpgpu-fuzz-") as folder:
        seeds, words = Path(folder, "seeds"), Path(folder, "words")
        seeds.mkdir()
        for i, seed in enumerate(TARGETS[name].seeds()):
            (seeds / str(i)).write_bytes(seed)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in TARGETS[name].words))
        found = Path(folder, "found") if corpus is None else corpus / name
        found.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-runs={runs}",
            f"-max_total_time={seconds}",
            f"-timeout={_TIMEOUT}",
            f"-rss_limit_mb={_RESIDENT_MB}",
        ]
        how = [
            "-max_len=16384",
            "-len_control=0",
            "-print_final_stats=1",
            f"-artifact_prefix={name}-",
        ]
        if TARGETS[name].words:
            how.append(f"-dict={words}")
        started = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "scripts.fuzz.one", name, *limits, *how, found, seeds],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    took = time.monotonic() - started
    executions = int((re.findall(r"number_of_executed_units:\s*(\d+)", ended.stderr) or [0])[-1])
    edges = (re.findall(r"cov: (\d+)", ended.stderr) or ["0"])[-1]
    crashed = int(ended.returncode != 0)
    print(f"| {name} | {executions:,} | {took:.0f} | {executions / took:,.0f} | {crashed} | {edges} |", flush=True)
    if crashed:
        print(ended.stderr[-4000:], file=sys.stderr, flush=True)
    return crashed


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
