"""The builder that TFDS has for a name, and the error of a dataset whose files are not whole.
Knows nothing of images."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

import pnas_tf.data.digits  # noqa: F401 (defining the builder registers it)
from pnas_tf.data.dataset_name import tfds_home, unknown_dataset
from pnas_tf.errors import UserError, told_in


@contextlib.contextmanager
def damage_named(name: str, data_dir: str) -> Iterator[None]:
    """Raises UserError in the place of what TFDS and TensorFlow raise on files that are no longer
    what TFDS wrote. data_dir: TFDS folder, empty for its default."""
    try:
        yield
    except (
        ParseError,
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
    ) as error:
        quoted = told_in(str(error))  # of one of the images
        if quoted is not None:
            raise quoted from error
        place = _folder_of(name, data_dir)
        raise UserError(
            f"dataset '{name}' is damaged",
            expected="the files as TFDS wrote them",
            received=last_line(error),
            fix=f"Bring the files in {place} back, or remove that folder, then give the same "
            "command again: what can be downloaded is prepared anew.",
        ) from error


def known_builder(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """The builder of a dataset. data_dir: empty for the default. Raises UserError where there is
    none."""
    directory = os.path.expanduser(data_dir) or None
    try:
        return builder_in(directory, name)
    except tfds.core.DatasetNotFoundError as error:
        raise unknown_dataset(name, data_dir=data_dir) from error
    except ImportError as error:  # what datasets of another origin need
        raise UserError(
            f"dataset '{name}' needs a Python package that is not installed",
            expected="a dataset that tensorflow_datasets alone can read",
            received=f"no module '{error.name}'",
            fix=f"Install it: pip install {error.name}, or choose another dataset.",
        ) from error
    except (
        ValueError,
        AssertionError,
    ) as error:  # an unknown configuration or version of a known dataset
        raise UserError(
            f"dataset '{name}' cannot be opened",
            expected="a name, name/config or name:version that TFDS knows",
            received=str(error).strip().splitlines()[0][:300],
            fix="Correct --dataset.",
        ) from error


def builder_in(data_dir: str | Path | None, name: str) -> tfds.core.DatasetBuilder:
    """TFDS's builder, without the temporary folder that it makes for each that is not prepared, and
    forgets. data_dir: None for its default."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="pnas_") as forgotten:
        tempfile.tempdir = forgotten
        try:
            return tfds.builder(name, data_dir=data_dir, try_gcs=False)
        finally:
            tempfile.tempdir = before


def _folder_of(name: str, data_dir: str) -> Path:
    """Where TFDS keeps that version of the dataset; all of them where its description is broken."""
    try:
        return Path(builder_in(os.path.expanduser(data_dir) or None, name).data_dir)
    except ParseError:
        return tfds_home(data_dir) / name.split(":")[0]


def last_line(error: BaseException) -> str:
    """Its kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
