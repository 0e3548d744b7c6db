"""The two tasks: real photographs of which there are a thousand or two. Trains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pnas_tf as pnas
from examples.solar_cells import write_table
from pnas_tf.config import DataConfig
from pnas_tf.data import ImageData


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
    """Electroluminescence pictures of solar cells, intact or defective."""
    table = output / "solar_cells.csv"
    write_table(table)
    return Task("solar", ImageData(DataConfig(dataset=f"csv:{table}")), resolution)
