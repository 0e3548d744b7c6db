"""The public API: from labelled images to a measured .tflite, one function a step.

  import pnas_tf as pnas

  data = pnas.data.from_folder("photos")
  space = pnas.space("proxyless", resolution=96, classes=data.class_names)
  table = pnas.measure_latency(space, pnas.device("host"))
  found = pnas.search(space, data, table, target_latency_ms=8.0)
  model = pnas.train(found.derive(), data)
  files = pnas.export(model, data, formats=("float32", "int8"))
  times = pnas.benchmark(files, pnas.device("host"))

and `pnas.fit(data, max_latency_ms=8.0)` for all of it. The programs (`pnas NAME`) call the same
functions. Every option is a field of a class in `pnas_tf.config`, which has its default. Nothing is
kept unless a folder is given or something is saved. Importing this loads no TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    ConversionConfig,
    DeviceConfig,
    DistributionConfig,
    ExportConfig,
    LatencyConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from pnas_tf.run.progress import unheard

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.data import ImageData
    from pnas_tf.devices.record import Measurement
    from pnas_tf.devices.session import Runner
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.api import SearchResult
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.export import ExportedModels

Progress = Callable[[str], None]


def device(
    name: str = DeviceConfig.device,
    *,
    threads: int = DeviceConfig.threads,
    delegate: str = DeviceConfig.delegate,
    benchmark_binary: str = DeviceConfig.benchmark_binary,
) -> DeviceConfig:
    """What models are measured on. It is opened when something is measured.

    Args:
        name: "host", "android" (the only one attached), "android:SERIAL", "ssh:USER@HOST[:PORT]".
        threads: of the interpreter.
        delegate: "xnnpack", "none", on Android also "gpu" and "nnapi".
        benchmark_binary: benchmark_model for far devices (docs/devices.md).

    Raises:
        UserError: there is no such kind of device.
    """
    from pnas_tf.devices.registry import split_devices

    split_devices(name)
    return DeviceConfig(
        device=name, threads=threads, delegate=delegate, benchmark_binary=benchmark_binary
    )


def space(
    name: str | os.PathLike,
    *,
    classes: int | Sequence[str],
    resolution: int | None = SpaceConfig.resolution,
    width: float = SpaceConfig.width,
) -> SearchSpace:
    """A search space for a number of classes.

    Args:
        name: "proxyless", "tiny", "pyramid_tree", or FILE.json with a space of your own.
        classes: how many, or their names (`data.class_names`).
        resolution: input size in pixels; None is the space's own.
        width: multiplier of all channel counts.

    Returns:
        The space: frozen data, no weights.

    Raises:
        UserError: there is no such space, or its file is no space.
    """
    from pnas_tf.space.registry import open_space

    count = classes if isinstance(classes, int) else len(classes)
    return open_space(os.fspath(name), classes=count, resolution=resolution, width=width)


def measure_latency(
    space: SearchSpace,
    device: DeviceConfig = DeviceConfig(),
    *,
    config: LatencyConfig = LatencyConfig(),
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = unheard,
) -> LatencyTable:
    """Measures every block of a space on a device (section 3.3: latency as a sum over blocks).

    Args:
        space: what will be searched.
        device: one device.
        config: number format, export rewrites and calibration networks.
        conversion: processes that convert, and the folder of converted models.
        seed: of the calibration networks and of the order of measurements.
        progress: called with lines for the user.

    Returns:
        The lookup table, in ms; `save` and `load` keep it.

    Raises:
        UserError: a conversion fails, or the device is absent, refuses or is lost. What was
            measured is kept, and the same call goes on.
    """
    from pnas_tf.latency.build import build_latency_table, convert_ahead

    convert_ahead(space, config, conversion, seed=seed, progress=progress)
    with _measuring(device, conversion, seed=seed, progress=progress) as setup:
        return build_latency_table(space, setup, config, seed=seed)


def search(
    space: SearchSpace,
    data: ImageData,
    table: LatencyTable,
    *,
    target_latency_ms: float | None = None,
    config: SearchConfig = SearchConfig(),
    optimizer: OptimizerConfig = OptimizerConfig(),
    folder: str | os.PathLike | None = None,
    seed: int = RunConfig.seed,
) -> SearchResult:
    """Learns which candidate op each block takes (section 3.2), guided by the table (section 3.3).

    Args:
        space: what can be searched.
        data: labelled images with the space's number of classes.
        table: latencies of the blocks of `space`, of `measure_latency`.
        target_latency_ms: what the network may take; default: `config.target_latency_ms`.
        config: the search's options.
        optimizer: how the weights are trained.
        folder: keeps checkpoints, history and TensorBoard events; a stopped search in it goes on.
            None takes a temporary one, which lives as long as the result.
        seed: of initial weights, data order and sampling.

    Returns:
        Path probabilities, and architectures by `derive`.

    Raises:
        UserError: the target is out of reach, the table lacks blocks, the classes differ, or a
            split is smaller than a batch; before any work.
    """
    from pnas_tf.search.api import search_architecture
    from pnas_tf.training.result import check_classes

    if target_latency_ms is not None:
        config = dataclasses.replace(config, target_latency_ms=f"{target_latency_ms:g}")
    dataset = data.at(space.resolution)
    check_classes(space.classes, dataset)
    with _folder(folder) as (path, scratch):
        found = search_architecture(
            space, dataset, table, config, folder=path, optimizer=optimizer, seed=seed
        )
    return dataclasses.replace(found, scratch=scratch)


def train(
    architecture: Architecture,
    data: ImageData,
    *,
    config: TrainConfig = TrainConfig(),
    optimizer: OptimizerConfig = OptimizerConfig(),
    searched: SearchResult | None = None,
    folder: str | os.PathLike | None = None,
    seed: int = RunConfig.seed,
) -> keras.Model:
    """Trains the plain network of an architecture (section 4.2).

    Args:
        architecture: of `SearchResult.derive`, or of a file.
        data: labelled images with its number of classes.
        config: epochs, batch size, rates.
        optimizer: momentum, decay, smoothing, batch normalisation.
        searched: the search whose supernet weights the network starts from; None starts from
            random ones.
        folder: keeps checkpoints and history; stopped training in it goes on.
        seed: of initial weights, data order and dropout.

    Returns:
        A tf_keras model: normalised images float32 [batch, height, width, 3] to logits
        [batch, classes].

    Raises:
        UserError: the classes differ, there is less than one batch, or the loss is not finite.
    """
    from pnas_tf.training.loop import train_network
    from pnas_tf.training.result import check_classes

    dataset = data.at(architecture.space.resolution)
    check_classes(architecture.space.classes, dataset)
    weights = None
    if searched is not None:
        weights = searched.supernet_weights.network(
            architecture, dataset, batch_size=config.batch_size
        ).get_weights()
    with _folder(folder) as (path, _):
        trained = train_network(
            architecture,
            dataset,
            config,
            path,
            optimizer=optimizer,
            seed=seed,
            initial_weights=weights,
        )
    return trained.model


def export(
    model: keras.Model,
    data: ImageData,
    *,
    formats: Sequence[str] = ExportConfig.formats,
    config: ExportConfig = ExportConfig(),
    architecture: Architecture | None = None,
    table: LatencyTable | None = None,
) -> ExportedModels:
    """Converts a trained network to TensorFlow Lite, and proves each file equal to it.

    Args:
        model: logits of normalised images; of `train`, or any network of tf_keras.
        data: what it was trained on: ranges of int8, proof and labels come from it.
        formats: some of "float32", "float16", "dynamic_int8", "int8".
        config: input and output types, bounds; its `formats` are replaced.
        architecture: goes into the files' metadata.
        table: its export rewrites are taken; None takes every one that fits.

    Returns:
        The files by format.

    Raises:
        UserError: a file departs from the network by more than the bounds allow.
    """
    from pnas_tf.tflite.export import export_for

    config = dataclasses.replace(config, formats=tuple(formats))
    dataset = data.at(model.input_shape[1])
    return export_for(model, dataset, config, architecture=architecture, table=table)


def benchmark(
    files: ExportedModels | Mapping[str, str | os.PathLike],
    device: DeviceConfig = DeviceConfig(),
    *,
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = unheard,
) -> dict[str, Measurement]:
    """Measures .tflite files on a device, interleaved.

    Args:
        files: of `export`, or name -> path.
        device: one device.
        conversion: the folder where the reference model is kept.
        seed: of the order of measurements.
        progress: called with lines for the user.

    Returns:
        Name -> measurement: `median_ms`, `p90_ms`, raw samples.

    Raises:
        UserError: a file is no model, none could be measured, or the device is absent or lost.
    """
    from pnas_tf.latency.measure_files import measure_files

    with tempfile.TemporaryDirectory(prefix="pnas_") as scratch:
        paths = files.save(scratch) if isinstance(files, ExportedModels) else files
        with _measuring(device, conversion, seed=seed, progress=progress) as setup:
            return measure_files({k: Path(v) for k, v in paths.items()}, setup).measurements


@contextlib.contextmanager
def _folder(given: str | os.PathLike | None) -> Iterator[tuple[Path, object]]:
    """(the folder, what keeps it alive where it is a temporary one)."""
    if given is not None:
        yield Path(given), None
        return
    scratch = tempfile.TemporaryDirectory(prefix="pnas_")
    yield Path(scratch.name), scratch
