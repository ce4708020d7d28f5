"""The parts of the benchmark that stand beside the searches, by name."""

import tempfile
from pathlib import Path

from bench import figures, many_labels, policy, reload

NAMES = ("policy", "reload", "many-labels")


def measure(name: str, label_rows: int, root: Path) -> None:
    """Measure one part, show it and keep it."""
    if name == "policy":
        introduction = policy.INTRODUCTION
        with tempfile.TemporaryDirectory(prefix="vecsec-bench-") as folder:
            found = policy.measure(Path(folder))
    elif name == "reload":
        introduction, found = reload.INTRODUCTION, reload.measure()
    else:
        introduction, found = many_labels.introduction(label_rows), many_labels.measure(label_rows)
    figures.show(name, found)
    figures.keep(root, name, introduction, found)
