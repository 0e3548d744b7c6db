"""Writes a table of photographs of solar cells for `--dataset=csv:...`.

  python examples/solar_cells.py runs/solar_cells.csv

The pictures are those of the package elpv-dataset (Deitsch et al. 2019; CC BY-NC-SA 4.0, so not for
commercial use): cells that the experts call intact or defective without doubt. Every fifth of a
class is for testing. Takes a second.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

CERTAIN = {"0.0": "intact", "1.0": "defective"}  # the probability of a defect


def write_table(path: Path) -> int:
    """Writes path,label,split rows; returns how many. Exits where the package is not installed."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise SystemExit("elpv-dataset is not installed: pip install elpv-dataset")
    folder = Path(spec.origin).parent / "data"
    counts = dict.fromkeys(CERTAIN, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines():
            name, probability, *_ = line.split()
            if probability in CERTAIN:
                counts[probability] += 1
                split = "test" if counts[probability] % 5 == 0 else "train"
                writer.writerow((folder / name, CERTAIN[probability], split))
    return sum(counts.values())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(f"wrote {sys.argv[1]}: {write_table(Path(sys.argv[1]))} photographs")
