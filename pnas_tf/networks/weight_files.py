"""Weights out of Keras files (.keras, .weights.h5, .h5), and nothing but weights.

Keras makes layers, and whatever module and function a file names, from the configuration inside; a
stranger's file could run anything. So the network is built from its architecture, and of the file
only arrays are read, after another process has read them. Knows nothing of PyTorch
(`interop.checkpoint`).
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, isolated

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 2 * 2**30
_ENTRY = "model.weights.h5"
_EXPECTED = "a .h5, .weights.h5 or .keras file of numbers alone"
_FIX = "Give the weights of this architecture, as this project saves them."


def load_keras_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Sets every weight of `model` from a Keras file.

    Raises:
        UserError: the file is absent, damaged or of another network; the model is untouched.
    """
    content, suffix = read_weight_file(path)
    before = model.get_weights()
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # Keras reads only from files, and what was checked is what is read
        checked = Path(folder) / f"checked{suffix}"
        checked.write_bytes(content)
        try:
            model.load_weights(checked)
        # Keras raises a dozen unrelated kinds on files of other networks, and documents none
        except Exception as error:
            model.set_weights(before)
            raise UserError(
                f"weights {path}",
                expected=f"the weights of '{model.name}'",
                received=f"{type(error).__name__}: {str(error).strip()[:300]}",
                fix=_FIX,
            ) from error


def read_weight_file(path: str | os.PathLike) -> tuple[bytes, str]:
    """What a weights file holds, read once by a child process.

    Returns:
        (HDF5 bytes, the suffix by which Keras knows their layout).

    Raises:
        UserError: the file is absent, too large or damaged, or holds links or anything but finite
            numbers.
    """
    content = atomic.read_bytes(path, what="weights", made_by=_FIX, limit=MAX_BYTES)
    suffix = ".weights.h5" if str(path).endswith((".weights.h5", ".keras")) else ".h5"
    if str(path).endswith(".keras"):
        content = _entry(content, str(path))
    isolated.inspect("hdf5", content, where=f"weights {path}", expected=_EXPECTED, fix=_FIX)
    return content, suffix


def classes_in(path: str | os.PathLike) -> int | None:
    """The class count of a weights file: the classifier's kernel is the one matrix of the network;
    None where it has no classifier. Raises UserError as `read_weight_file`, and where there are
    several."""
    import h5py

    counts: set[int] = set()

    def visit(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape) == 2:
            counts.add(item.shape[1])

    with h5py.File(io.BytesIO(read_weight_file(path)[0]), "r") as file:
        file.visititems(visit)
    if len(counts) > 1:
        raise UserError(
            f"weights {path}",
            expected="the weights of one classifier",
            received=f"classifiers of {sorted(counts)} classes",
            fix="Give weights that model.save_weights wrote.",
        )
    return counts.pop() if counts else None


def _entry(content: bytes, where: str) -> bytes:
    """The weights in a .keras archive; its configuration is left alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo(_ENTRY)
            if entry.file_size > MAX_BYTES or entry.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise UserError(
                    f"weights {where} are too large",
                    expected=f"at most {MAX_BYTES} bytes, stored or deflated",
                    received=f"{entry.file_size} bytes, method {entry.compress_type}",
                    fix=_FIX,
                )
            return archive.read(entry)  # no more than the size it declares
    except atomic.BAD_ZIP as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"weights {where} are damaged",
            expected=f"a whole .keras archive with {_ENTRY}",
            received=f"{type(error).__name__}: {str(error)[:200]}",
            fix=_FIX,
        ) from error
