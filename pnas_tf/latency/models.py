"""The .tflite files that a table and its calibration measure: blocks and networks, converted as
export converts them.

Converted in child processes, since the converter is slow and TensorFlow large, and kept by content:
a file is made again when the block, the dtype, the rewrites, CONVERSION_VERSION or a package that
converts changes. Knows nothing of measuring.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Union

from pnas_tf import _tf_private
from pnas_tf.config import ConversionConfig, ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.json_child import WITHOUT_GPU
from pnas_tf.run.progress import Progress, silent
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.tflite.rewrites.choice import check_names, rewrites_of_blocks, wanted_among

Source = Union[Block, Architecture]
# For all sources, or name of the source -> its own.
Rewrites = Union[tuple[str, ...], Mapping[str, tuple[str, ...]]]
_Job = tuple[Source, str, tuple[str, ...], Path]  # what `_convert` takes
# Raised when the code that decides a converted model changes its meaning; a test holds it to the
# code (tests/latency/test_conversion_version.py).
CONVERSION_VERSION = 4
# What else decides the bytes of a model: its graph, its conversion, its weights and samples.
_PACKAGES = ("tensorflow", "tf_keras", "flatbuffers", "numpy")
_SAFE_PATH = "PYTHONSAFEPATH"
_CONVERTING = threading.RLock()  # of this process: its environment and its children are one
_REPRESENTATIVE_SAMPLES = 4  # of noise: ranges decide no kernel, so they move no latency


def cache_folder(config: ConversionConfig) -> Path:
    """Where converted models are kept: `atomic.user_cache_folder` when the user names no place."""
    return Path(config.model_cache or atomic.user_cache_folder("models"))


def convert_models(
    sources: Mapping[str, Source],
    config: ConversionConfig,
    *,
    dtype: str,
    rewrites: Rewrites,
    progress: Callable[[str], None] = silent,
) -> dict[str, Path]:
    """Converts every block or network that is not yet in the cache; batch 1, seeded weights.

    Args:
        sources: name -> block or network.
        config: the cache folder and the number of child processes; 0 converts in this one.
        dtype: as export's.
        rewrites: export rewrites, of all sources or of each by name.
        progress: called with lines for the user.

    Returns:
        Name -> .tflite file.

    Raises:
        UserError: a conversion fails (it names the source), or a rewrite is unknown.
    """
    folder, workers = cache_folder(config), config.convert_workers
    own = {
        name: effective(source, rewrites_for(name, rewrites)) for name, source in sources.items()
    }
    paths = {
        name: folder / f"{content_key(source, dtype=dtype, rewrites=own[name])}.tflite"
        for name, source in sources.items()
    }
    # Two names of one content are converted once; large ones first, so that no worker ends alone
    # with one.
    missing = {path: name for name, path in sorted(paths.items()) if not path.exists()}
    largest = sorted(missing.items(), key=lambda item: -_layers(sources[item[1]]))
    jobs = [(sources[name], dtype, own[name], path) for path, name in largest]
    if jobs:
        progress(f"converting {len(jobs)} of {len(paths)} models to {dtype}")
    atomic.sweep(folder)
    pace = Progress("converting models", len(jobs), say=progress)
    if workers == 0 or len(jobs) < 4:
        with _tf_private.no_global_seed():
            for job in jobs:
                _convert(*job)
                pace.update()
    else:
        _convert_in_processes(jobs, min(workers, len(jobs)), pace)
    return paths


def _convert_in_processes(jobs: Sequence[_Job], workers: int, pace: Progress) -> None:
    others = multiprocessing.active_children()
    try:
        with converters(workers) as pool:
            try:
                for future in as_completed([pool.submit(_convert, *job) for job in jobs]):
                    future.result()
                    pace.update()
            except BaseException:  # a failure, or a wish to stop, does not wait for the others
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    if child not in others:
                        child.terminate()
                raise
    except BrokenProcessPool as error:
        raise UserError(
            "conversion of the block models",
            expected="converters that live",
            received=str(error),
            fix="Most likely memory ran out: convert in fewer processes with --convert_workers=1.",
        ) from error


@contextmanager
def converters(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, see no card, import nothing of the working folder (from
    Python 3.11 on), and do not run the script that called this again."""
    spawn = multiprocessing.get_context("spawn")  # a forked TensorFlow hangs
    with _CONVERTING, _no_script():  # several devices are measured in threads
        before = os.environ.get(_SAFE_PATH)
        os.environ[_SAFE_PATH] = "1"
        try:
            with ProcessPoolExecutor(
                workers, mp_context=spawn, initializer=_live_and_end_with_parent
            ) as pool:
                yield pool
        finally:
            del os.environ[_SAFE_PATH]
            os.environ.update({} if before is None else {_SAFE_PATH: before})


@contextmanager
def _no_script() -> Iterator[None]:
    """A spawned process imports what `__main__` was made from: a user's script without
    `if __name__ == "__main__"` would begin once more in each. Nothing of it is needed there."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def rewrites_for(name: str, rewrites: Rewrites) -> tuple[str, ...]:
    """What `rewrites` asks for the source called `name`."""
    return rewrites if isinstance(rewrites, tuple) else rewrites[name]


def effective(source: Source, rewrites: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the rewrites, by shape, that change the exported source. Raises UserError on an
    unknown one."""
    return wanted_among(rewrites_of_blocks(_blocks(source)), check_names(rewrites))


def _blocks(source: Source) -> tuple[Block, ...]:
    return source.blocks if isinstance(source, Architecture) else (source,)


def _live_and_end_with_parent() -> None:
    """In a converting process: Ctrl-C is the parent's to answer, and a parent that is killed leaves
    no process behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(WITHOUT_GPU)  # before TensorFlow looks for one
    _tf_private.load_quietly()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def content_key(source: Source, *, dtype: str, rewrites: tuple[str, ...]) -> str:
    """SHA-256 of all that decides the bytes of the converted model; the same for rewrites that
    change nothing in it."""
    description = source.to_json() if isinstance(source, Architecture) else {"key": source.key}
    versions = [f"{package} {metadata.version(package)}" for package in _PACKAGES]
    toolchain = [f"conversion {CONVERSION_VERSION}", *versions]
    about = [description, dtype, effective(source, rewrites), toolchain]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _layers(source: Source) -> int:
    return sum(len(block.layers) for block in _blocks(source))


def _convert(source: Source, dtype: str, rewrites: tuple[str, ...], path: Path) -> None:
    """Writes the converted model to `path`. Raises UserError naming the source."""
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras

    from pnas_tf.networks.network import build_block_model, build_network
    from pnas_tf.tflite.convert import convert
    from pnas_tf.tflite.model import with_softmax
    from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

    keras.backend.clear_session()
    tf.random.set_seed(0)
    is_network = isinstance(source, Architecture)
    model = build_network(source) if isinstance(source, Architecture) else build_block_model(source)
    samples = np.random.default_rng(0).standard_normal(
        (_REPRESENTATIVE_SAMPLES, *model.inputs[0].shape[1:]), np.float32
    )
    # What export puts before a network and behind it is part of every file that is predicted.
    ends = (ExportConfig.int8_input, ExportConfig.int8_output) if is_network else (None, None)
    try:
        content = convert(
            apply_rewrites(model, rewrites),
            dtype,
            representative=samples if dtype == "int8" else None,
            input_type=ends[0] if dtype == "int8" else None,
            output_type=ends[1] if dtype == "int8" else None,
        )
        if is_network and dtype == "int8":
            content = with_softmax(content)
    except UserError as error:
        name = source.key if isinstance(source, Block) else source.space.name
        raise UserError(
            f"conversion of '{name}': {error.what}",
            expected=error.expected,
            received=error.received,
            fix=error.fix,
        ) from error
    atomic.write_bytes(path, content)
