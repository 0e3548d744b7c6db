"""The private machinery of TensorFlow and its companions, behind one door.

No other file imports what TensorFlow, TFDS or tensorflow-model-optimization do not document
(`tests/test_layering.py`): a new version of one of them is mended here. Everything is imported
when it is called for, so that this file loads without TensorFlow and one name that has moved
breaks one function. Knows nothing of networks, data or runs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType

    import tensorflow as tf
    import tf_keras as keras
    from tensorflow.core.framework.function_pb2 import FunctionDef

_CARDS = ("/dev/nvidiactl", "/dev/dxg")  # of NVIDIA's driver, of WSL's


def load_quietly() -> str:
    """Imports TensorFlow and looks for its devices, so that nothing of that is on the terminal.

    Buys: without a GPU every program begins with seven lines of C++, an error of cuInit among them,
    which TF_CPP_MIN_LOG_LEVEL does not hold back. Without it: those lines.

    Returns:
        What was written to descriptor 2 meanwhile. Python's own standard error stays where it is.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Quietly)]
    with _held_back() as said:
        import tensorflow as tf

        tf.config.list_physical_devices()
    return said[0]


def load_quietly_when_needed() -> None:
    """From here on, where a module of ours is what imports TensorFlow first, it is loaded as by
    `load_quietly`.

    Buys: the same seven lines, in the notebook of whoever imports `pnas_tf.applications` or any
    other module of ours that computes. Without it: those lines.
    """
    sys.meta_path.insert(0, _Quietly())  # type: ignore[arg-type]


class _Quietly:
    """Finds TensorFlow for a module of ours, once, so that it says nothing while it is loaded. By
    its method alone a finder: `importlib.abc` asks for much."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        if not _is_ours(sys._getframe()):
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with _held_back():
                    execute(module)
                    # Without a card TensorFlow tells so when it looks, at the first op. Where there
                    # is one, whoever looks cannot be forked any more.
                    if not any(map(os.path.exists, _CARDS)):
                        module.config.list_physical_devices()

            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


def _is_ours(frame: FrameType | None) -> bool:
    """Whether a module of ours is among the callers of `frame`."""
    while frame is not None and (frame := frame.f_back) is not None:
        if str(frame.f_globals.get("__name__")).startswith("pnas_tf."):
            return True
    return False


@contextlib.contextmanager
def _held_back() -> Iterator[list[str]]:
    """What is written to descriptor 2 within, whole afterwards; Python's own standard error stays
    where it is."""
    import tempfile  # not with the package, whose import asks for little

    kept, said = os.dup(2), list[str]()
    with (
        tempfile.TemporaryFile() as words,
        open(kept, "w", buffering=1, errors="backslashreplace") as shown,
        contextlib.redirect_stderr(shown),
    ):
        os.dup2(words.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
        words.seek(0)
        said.append(words.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def deterministic_ops() -> Iterator[None]:
    """TensorFlow's op determinism within the block, or within a function that this decorates.

    Buys: behind it all is as it was before. What is documented cannot be taken back, and from then
    on a random op of the caller's own without a seed is an error. Without it:
    `tf.config.experimental.enable_op_determinism`, for good.
    """
    import tensorflow as tf

    try:
        from tensorflow.python.framework import config

        before, disable = config.is_op_determinism_enabled(), config.disable_op_determinism
    except (ImportError, AttributeError):
        before, disable = True, None
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if disable and not before:
            disable()


@contextlib.contextmanager
def no_global_seed() -> Iterator[None]:
    """tf.random has no global seed within the block; behind it that is what it was, and goes on
    where it stood.

    Buys: what is shuffled by a seed of its own does not depend on the caller's global one, which
    TensorFlow mixes into it, and nothing of ours moves that. Without it: `tf.random.set_seed`,
    which cannot be taken back.
    """
    from tensorflow.python.eager import context

    here = context.context()
    before = here._seed, getattr(here, "_rng", None)  # which comes with the first seed
    here._seed = None
    try:
        yield
    finally:
        here._seed, here._rng = before


def add_function(definition: FunctionDef) -> None:
    """Gives TensorFlow's runtime a function by its definition alone.

    Buys: a compiled piece needs no Python graph, which with its stack traces takes as much memory
    again as the runtime's own 0.4 MB. Without it: `--engine=compiled` does not work, and auto
    searches by the tape.

    Args:
        definition: a FunctionDef whose signature has a name that no other function has.
    """
    from tensorflow.python.eager import context

    context.context().add_function_def(definition)


def remove_function(name: str) -> None:
    """Takes a function of `add_function` out of the runtime again.

    Buys: the memory of pieces that nobody calls any more. Without it: a process that makes many
    supernets grows.
    """
    from tensorflow.python.eager import context

    context.context().remove_function(name)


def dismantle(graph: tf.Graph) -> None:
    """Takes a traced Python graph apart; it is not usable afterwards.

    Buys: a graph is a cycle, which waits for the garbage collector; several hundred MB wait in the
    first epoch of a search of the ImageNet space. Without it: that memory is held for longer.

    Args:
        graph: the FuncGraph of a `tf.compat.v1.wrap_function`.
    """
    from tensorflow.python.framework.func_graph import dismantle_func_graph

    dismantle_func_graph(graph)


def wait_for_workers(tasks: Mapping[str, int], *, seconds: int) -> None:
    """Gives the other processes of a cluster so long for a sign of life.

    Buys: a host that swaps for longer than the 10 s that a strategy gives by itself is not lost.
    Without it: multi_worker works, with those 10 s.

    Args:
        tasks: kind of a task ("chief", "worker") -> how many there are; the first kind's number 0
            leads.
        seconds: until a silent process counts as lost.
    """
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{next(iter(tasks))}/task:0",
        heartbeat_timeout_in_ms=seconds * 1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=kind, num_tasks=number)
            for kind, number in tasks.items()
        ],
    )


def converter_error() -> type[Exception]:
    """What `tf.lite.TFLiteConverter.convert` raises on a model that it cannot convert.

    Buys: an op without a TFLite form is the user's error, said in four parts. Without it: a stack
    trace.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    return ConverterError


def strip_cluster_preserving(model: keras.Model) -> keras.Model:
    """Takes off what keeps clusters in quantisation-aware training; leaves the ranges, which the
    converter reads.

    Buys: clustering together with quantisation-aware training. Without it: `tfmot` has no public
    way to export such a model.
    """
    options = "tensorflow_model_optimization.python.core.quantization.keras.collab_opts"
    cluster_utils = importlib.import_module(f"{options}.cluster_preserve.cluster_utils")
    return cluster_utils.strip_clustering_cqat(model)


def download_name(url: str, sha256: str) -> str:
    """The file name under which TFDS keeps the download of `url`.

    Buys: `--offline_files`, archives that are on disk already. Without it: datasets must be
    downloaded or prepared by TFDS itself.
    """
    from tensorflow_datasets.core.download import resource

    return resource.get_dl_fname(url, sha256)


def download_errors() -> tuple[type[Exception], ...]:
    """What TFDS raises, beside its documented `DownloadError`, when it fetches or unpacks archives.

    Buys: a damaged archive is the user's error, said in four parts. Without it: a stack trace.
    """
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.extractor import ExtractError

    return NonMatchingChecksumError, ExtractError
