"""What a derivation gives, and its files in a run folder. Knows nothing of how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact
from pnas_tf.search.judgement import SEARCHED

if TYPE_CHECKING:
    import os

    from pnas_tf.run.loop import Row
    from pnas_tf.space.architecture import Architecture

_DERIVATION = {"format": "pnas_tf/derivation", "version": 1}


@dataclass(frozen=True)
class Derivation:
    """What one derivation gave.

    Attributes:
        architecture: the network taken.
        compared: a row for each network compared, the most probable one first: "ops" (keys),
            "log_probability" (None where it is -inf), "predicted" in "unit", "alpha_loss" and
            "trained_loss" (cross-entropies on the validation split, None where not computed).
        origin: what it is: SEARCHED; DRAW_WITHIN_BUDGET, or DRAW of --derive=most_probable, where
            the supernet never was better than chance (`search.judgement`).
    """

    architecture: Architecture
    compared: tuple[Row, ...]
    origin: str = SEARCHED

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes architecture.json and derivation.json into `folder`; returns their paths."""
        return [
            self.architecture.save(Path(folder) / Artifact.ARCHITECTURE),
            atomic.write_json(
                Path(folder) / Artifact.DERIVATION,
                {**_DERIVATION, "origin": self.origin, "networks": list(self.compared)},
            ),
        ]
