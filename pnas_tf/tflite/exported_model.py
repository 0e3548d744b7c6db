"""Files that an export has made, as values: to save, run and look into. Knows no dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.io import atomic
from pnas_tf.run.layout import model_file
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.inspect import Inspection, inspection_of
from pnas_tf.tflite.metadata import Metadata, read_metadata
from pnas_tf.tflite.model import TfliteModel

if TYPE_CHECKING:
    from pnas_tf.tflite.export import Exported
    from pnas_tf.tflite.parity_report import ParityReport


@dataclass(frozen=True)
class ExportedModel:
    """One .tflite file.

    Attributes:
        name: its file name.
        content: its bytes.
        parity: how it compares with the Keras network on the test split.
    """

    name: str
    content: bytes
    parity: ParityReport

    @property
    def mean(self) -> float | np.ndarray:
        """What the file takes is (pixel - mean) / std; one value, or one for each channel."""
        return _single(self._seen.mean)

    @property
    def std(self) -> float | np.ndarray:
        """See `mean`."""
        return _single(self._seen.std)

    @property
    def _seen(self) -> Metadata:
        return read_metadata(TfliteModel(self.content, where=self.name))

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the file whole or not at all, into a folder or under a name of its own."""
        place = Path(path)
        return atomic.write_bytes(place / self.name if place.is_dir() else place, self.content)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Runs the model in this process.

        Args:
            images: pixels from 0 to 255, [count, height, width, 3] at the network's resolution.

        Returns:
            float32 [count, classes]: probabilities where the export gives them, else logits.

        Raises:
            UserError: the images have another shape.
        """
        taken = (np.asarray(images, np.float32) - np.float32(self.mean)) / np.float32(self.std)
        return Classifier(self.content, what=self.name).logits(taken)

    def inspect(self) -> Inspection:
        """Its tensors, ops and metadata."""
        model = TfliteModel.examined(self.content, where=self.name, prepare=True)
        return inspection_of(model)


def _single(values: tuple[float, ...]) -> float | np.ndarray:
    return values[0] if len(values) == 1 else np.array(values, np.float32)


@dataclass(frozen=True)
class ExportedModels(Mapping[str, ExportedModel]):
    """Format ("float32", "int8", ...) -> file."""

    by_format: Mapping[str, ExportedModel]

    @classmethod
    def of(cls, exported: Exported) -> ExportedModels:
        """The files of an export."""
        files = {
            report.dtype: ExportedModel(name, exported.contents[name], report)
            for name, report in exported.reports.items()
        }
        return cls(files)

    def __getitem__(self, dtype: str) -> ExportedModel:
        return self.by_format[dtype]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_format)

    def __len__(self) -> int:
        return len(self.by_format)

    def save(self, folder: str | os.PathLike) -> dict[str, Path]:
        """Writes every file into a folder, which is made if need be.

        Returns:
            Format -> path.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        return {
            dtype: model.save(Path(folder) / model_file(dtype)) for dtype, model in self.items()
        }
