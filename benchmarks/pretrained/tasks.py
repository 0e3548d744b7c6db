"""The two tasks: real photographs of which there are a thousand or two. Trains nothing."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pnas_tf as pnas
from pnas_tf.config import DataConfig
from pnas_tf.data import ImageData
from pnas_tf.errors import UserError

CERTAIN = {"0.0": "intact", "1.0": "defective"}  # the cells that the experts agree on


@dataclass(frozen=True)
class Task:
    """Images and the size that networks see them at."""

    name: str
    data: ImageData
    resolution: int


def flowers(folder: Path, *, resolution: int = 96) -> Task:
    """17 flowers of Oxford (Nilsback and Zisserman 2006): `folder` has train/ and test/ with one
    folder a class, 64 and 16 photographs each."""
    return Task("flowers", pnas.data.from_folder(folder), resolution)


def solar_cells(output: Path, *, resolution: int = 96) -> Task:
    """Electroluminescence pictures of solar cells (Deitsch et al. 2019; elpv-dataset, CC BY-NC-SA
    4.0): certainly intact or certainly defective, every fifth of a class for testing."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise UserError(
            "elpv-dataset is not installed",
            expected="the pictures of solar cells",
            received="no such package",
            fix="pip install elpv-dataset",
        )
    folder = Path(spec.origin).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    seen = dict.fromkeys(CERTAIN, 0)
    output.mkdir(parents=True, exist_ok=True)
    manifest = output / "solar_cells.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for path, probability, *_ in rows:
            if probability not in CERTAIN:
                continue
            seen[probability] += 1
            split = "test" if seen[probability] % 5 == 0 else "train"
            writer.writerow((folder / path, CERTAIN[probability], split))
    return Task("solar", ImageData(DataConfig(dataset=f"csv:{manifest}")), resolution)
