"""Spaces by name and by kind, and their files. The one place that knows every kind of space."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnas_tf.errors import UserError, named
from pnas_tf.io import atomic
from pnas_tf.space.backbone import json_object
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, proxyless, tiny
from pnas_tf.space.tree_cells import TreeCellSpace, pyramid_tree

NAMED_SPACES: dict[str, Callable[..., SearchSpace]] = {
    "proxyless": proxyless,
    "tiny": tiny,
    "pyramid_tree": pyramid_tree,
}
_KINDS: dict[str, type[MBConvSpace] | type[TreeCellSpace]] = {
    "mbconv": MBConvSpace,
    "tree_cells": TreeCellSpace,
}


def named_space(
    name: str, *, classes: int, resolution: int | None = None, width: float = 1.0
) -> SearchSpace:
    """A space by its name; resolution None is the space's own. Raises UserError on an unknown
    name."""
    if name not in NAMED_SPACES:
        raise UserError(
            "unknown search space",
            expected=f"one of {sorted(NAMED_SPACES)}",
            received=repr(name),
            fix="Choose one of these with --space.",
        )
    sized = {} if resolution is None else {"resolution": resolution}
    return NAMED_SPACES[name](classes=classes, width=width, **sized)


def load_space(path: str | os.PathLike) -> SearchSpace:
    """A space from a JSON file: {"format": "pnas_tf/space", "version": 1, "space": {...}} as
    `SearchSpace.to_json` writes it.

    Raises UserError when the file is absent, truncated or no space, naming the field.
    """
    document = atomic.read_document(
        path, format="pnas_tf/space", version=1, what="search space", made_by="see docs/spaces.md"
    )
    with named(str(path)):
        return space_from_json(document.get("space"), where=str(path))


def space_from_json(document: Any, *, where: str) -> SearchSpace:
    """The space that `to_json` of its class wrote; "kind" names the class, and a space of MBConvs
    needs none.

    Raises UserError on an unknown kind and as the class's `from_json`.
    """
    fields = dict(json_object(document, where))
    kind = fields.pop("kind", "mbconv")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(
            f"kind of space in {where}",
            expected=f"one of {sorted(_KINDS)}",
            received=repr(kind)[:200],
            fix="Correct it.",
        )
    return _KINDS[kind].from_json(fields, where=where)


def save_space(space: SearchSpace, path: str | os.PathLike) -> Path:
    """Writes what `load_space` reads."""
    return atomic.write_json(
        path, {"format": "pnas_tf/space", "version": 1, "space": space.to_json()}
    )
