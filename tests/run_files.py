"""The files that a run leaves, and their content."""

import csv
import json

FILES = {
    ".lock", "config.toml", "confusion.png", "curves.png", "history.csv", "history.jsonl", "metrics.json",
    "model.safetensors",
}  # fmt: skip


def metrics_in(folder):
    return json.loads((folder / "metrics.json").read_text())


def history_in(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
