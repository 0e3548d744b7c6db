"""Spaces by name and by kind, and their files. The one place that knows every kind of space."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.errors import UserError, closest, named
from pnas_tf.io import atomic
from pnas_tf.io.serialization import Json, record_of, value_of
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, lite, mcu, proxyless, tiny
from pnas_tf.space.mobilenet_v4 import mnv4
from pnas_tf.space.small_images import cifar
from pnas_tf.space.tree_cells import TreeCellSpace, pyramid_tree

NAMED_SPACES: dict[str, Callable[..., SearchSpace]] = {
    "proxyless": proxyless,
    "lite": lite,
    "tiny": tiny,
    "cifar": cifar,
    "mnv4": mnv4,
    "mcu": mcu,
    "pyramid_tree": pyramid_tree,
}
_KINDS: dict[str, type[MBConvSpace] | type[TreeCellSpace]] = {
    "mbconv": MBConvSpace,
    "tree_cells": TreeCellSpace,
}


@dataclass(frozen=True)
class _Document:
    """What stands in a file of a space."""

    format: str
    version: int
    space: Json


def named_space(
    name: str, *, classes: int, resolution: int | None = None, width: float = 1.0
) -> SearchSpace:
    """A space by its name.

    Args:
        name: of `NAMED_SPACES`.
        classes: logits of its networks.
        resolution: pixels of a square side; None for the space's own.
        width: multiplier of every width.

    Raises:
        UserError: an unknown name, or a multiplier out of range.
    """
    if name not in NAMED_SPACES:
        meant = closest(name, NAMED_SPACES)
        raise UserError(
            "unknown search space",
            expected=f"one of {', '.join(sorted(NAMED_SPACES))}; or FILE.json with one of your own",
            received=repr(name),
            fix=f"Write --space={meant}" if meant else "Choose one of these with --space.",
        )
    sized = {} if resolution is None else {"resolution": resolution}
    return NAMED_SPACES[name](classes=classes, width=width, **sized)


def open_space(name: str, *, classes: int, resolution: int | None, width: float) -> SearchSpace:
    """A space by its name or from FILE.json, whose class count is replaced.

    Args:
        name: of `NAMED_SPACES`, or a path that ends in .json.
        classes: how many.
        resolution: input size in pixels; None is the space's own.
        width: multiplier of all channel counts.

    Raises:
        UserError: there is no such space, or the file holds none.
    """
    if not name.endswith(".json"):
        return named_space(name, classes=classes, resolution=resolution, width=width)
    own = load_space(name)
    sized = own.resolution if resolution is None else resolution
    return dataclasses.replace(own, classes=classes, resolution=sized).with_width(width)


def load_space(path: str | os.PathLike) -> SearchSpace:
    """A space from a JSON file: {"format": "pnas_tf/space", "version": 1, "space": {...}} as
    `SearchSpace.to_json` writes it.

    Raises:
        UserError: the file is absent, truncated or no space; names the field.
    """
    document = atomic.read_document(
        path, format="pnas_tf/space", version=1, what="search space", made_by="see docs/spaces.md"
    )
    with named(str(path)):
        what = f"search space in {path}"
        read = value_of(_Document, document, what=what, fix="Correct the value.")
        return space_from_json(read.space, where=str(path))


def space_from_json(document: Json, *, where: str) -> SearchSpace:
    """The space that `SearchSpace.to_json` wrote.

    Args:
        document: "kind" names its class, and a space of MBConvs needs none.
        where: the place named in errors.

    Raises:
        UserError: an unknown kind, a missing, unknown or ill-typed field, or values that cannot be
            searched.
    """
    fields = dict(document) if isinstance(document, dict) else document
    kind = fields.pop("kind", "mbconv") if isinstance(fields, dict) else "mbconv"
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(
            f"kind of space in {where}",
            expected=f"one of {sorted(_KINDS)}",
            received=repr(kind)[:200],
            fix="Correct it.",
        )
    return record_of(_KINDS[kind], fields, where=where, fix="Correct the value.")


def save_space(space: SearchSpace, path: str | os.PathLike) -> Path:
    """Writes what `load_space` reads."""
    return atomic.write_json(
        path, {"format": "pnas_tf/space", "version": 1, "space": space.to_json()}
    )
