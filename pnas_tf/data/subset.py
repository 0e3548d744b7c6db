"""Some of the examples of a source, and what they are known by. Knows nothing of their use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.data.sources import ArraySource, FileSource, Source


@dataclass(frozen=True)
class Subset:
    """Positions in a source; sorted, no repeats."""

    source: Source
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """int32 [examples], in the order of `positions`."""
        return self.source.labels[self.positions]

    def file_of(self, number: int) -> str | None:
        """Path of the example at `positions[number]`; None where examples are no files."""
        source = self.source.origin if isinstance(self.source, ArraySource) else self.source
        return source.paths[self.positions[number]] if isinstance(source, FileSource) else None

    @property
    def members(self) -> dict[str, object]:
        """How many, and a hash of which."""
        content = hashlib.sha256(self.positions.tobytes()).hexdigest()
        return {"number": len(self.positions), "content": content}


def images_by_class(
    class_names: Sequence[str], splits: Sequence[Subset]
) -> dict[str, dict[str, object]]:
    """Class name -> number and hash of its images in all `splits`: JSON in which a change can be
    named."""
    used = {
        id(split.source): np.sort(
            np.concatenate([each.positions for each in splits if each.source is split.source])
        )
        for split in splits
    }
    sources = {id(split.source): split.source for split in splits}
    found = {}
    for label, name in enumerate(class_names):
        digest, count = hashlib.sha256(), 0
        for key, source in sources.items():
            members = used[key][source.labels[used[key]] == label]
            digest.update(source.identity(members))
            count += len(members)
        found[name] = {"number": count, "content": digest.hexdigest()}
    return found
