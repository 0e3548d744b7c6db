"""Images that are there more than once, in words. Knows nothing of files and arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np

from pnas_tf.errors import number_of


def notes_on_copies(
    contents: Iterable[Hashable],
    labels: np.ndarray,
    *,
    training: int,
    name: Callable[[int], str] = "number {}".format,
) -> list[str]:
    """Sentences on images that are there twice: with another label, in both parts, or to train.

    Args:
        contents: what stands for each image, equal for copies.
        labels: int [images].
        training: the first so many images are to train, the others to test.
        name: of the image at a place.
    """
    first: dict[Hashable, int] = {}
    torn: list[tuple[int, int]] = []
    tested: list[tuple[int, int]] = []
    again: list[tuple[int, int]] = []
    for place, content in enumerate(contents):
        before = first.setdefault(content, place)
        if labels[place] != labels[before]:
            torn.append((before, place))
        elif before < training <= place:
            tested.append((before, place))
        elif before != place < training:
            again.append((before, place))
    notes = []
    for pairs, words in (
        (torn, "in two classes"),
        (tested, "both to train and to test"),
        (again, "there again in the same class, kept in one split where they fit"),
    ):
        if pairs:
            one, two = (name(place) for place in pairs[0])
            number = f"{number_of(len(pairs), 'image')} {'is' if len(pairs) == 1 else 'are'}"
            notes.append(f"{number} {words}: {one} and {two}{'.' if len(pairs) == 1 else ', ...'}")
    return notes
