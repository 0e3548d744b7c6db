"""The public API: from labelled images to a measured .tflite, one function a step.

  import pnas_tf as pnas

  data = pnas.data.from_folder("photos")
  space = pnas.space("proxyless", resolution=96, classes=data.class_names)
  table = pnas.measure_latency(space, pnas.device("host"))
  found = pnas.search(space, data, table, target_latency_ms=8.0)
  model = pnas.train(found.derive(budgets=[pnas.budget("size_kb", 300)]), data)
  files = pnas.export(model, data, formats=("float32", "int8"))
  times = pnas.benchmark(files, pnas.device("host"))

`fitting.fit` does all of it. Programs call the same library functions. Every option is a field of a
class in `pnas_tf.config`, which has its default. Nothing is kept unless a folder is given or
something is saved. Importing this loads no TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    CalibrateConfig,
    ConversionConfig,
    DeriveConfig,
    DeviceConfig,
    ExportConfig,
    LatencyConfig,
    RunConfig,
    SpaceConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.run.progress import silent

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.data import ImageData
    from pnas_tf.devices.record import Measurement
    from pnas_tf.latency.measure_sources import MeasurementSetup
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.budgets import Budget
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.result import SearchResult
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.exported_model import ExportedModels
    from pnas_tf.training.recipe import TrainRecipe

Progress = Callable[[str], None]


def space(
    name: str | os.PathLike,
    *,
    classes: int | Sequence[str],
    resolution: int | None = SpaceConfig.resolution,
    width: float = SpaceConfig.width,
) -> SearchSpace:
    """A search space for a number of classes.

    Args:
        name: "proxyless", "lite", "tiny", "cifar", "mnv4", "pyramid_tree", or FILE.json with a
            space of your own.
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


def device(
    name: str = DeviceConfig.device,
    *,
    threads: int = DeviceConfig.threads,
    delegate: str = DeviceConfig.delegate,
    benchmark_binary: str = DeviceConfig.benchmark_binary,
) -> DeviceConfig:
    """What models are measured on. It is opened when something is measured.

    Args:
        name: "host", "android" (the only one attached), "android:SERIAL" or
            "ssh:USER@HOST[:PORT]".
        threads: of the interpreter.
        delegate: "xnnpack", "none"; on Android also "gpu" and "nnapi".
        benchmark_binary: path of benchmark_model for far devices (docs/devices.md).

    Raises:
        UserError: there is no such kind of device.
    """
    from pnas_tf.devices.registry import split_devices

    split_devices(name)
    return DeviceConfig(
        device=name, threads=threads, delegate=delegate, benchmark_binary=benchmark_binary
    )


def measure_latency(
    space: SearchSpace,
    device: DeviceConfig = DeviceConfig(),
    *,
    config: LatencyConfig = LatencyConfig(),
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = silent,
) -> LatencyTable:
    """Measures every block of a space on a device (Cai et al. 2019, section 3.3).

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


def calibrate(
    space: SearchSpace,
    device: DeviceConfig = DeviceConfig(),
    *,
    few: CalibrateConfig = CalibrateConfig(),
    config: LatencyConfig = LatencyConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = silent,
) -> LatencyTable:
    """Estimates the table of `measure_latency` from a few measured networks.

    Args:
        space: what will be searched.
        device: one device.
        few: how many networks, up to which error, and what is known before: the file of a prior
            (`pnas learn-prior`), or an old table.
        config: number format and export rewrites.
        seed: of the networks to choose from and of the order of measurements.
        progress: called with lines for the user.

    Returns:
        The lookup table, in ms; `describe` and `warnings` say what it comes from and what error to
        expect.

    Raises:
        UserError: a file is no prior or table, or of another number format or runtime, a conversion
            fails, or the device is absent, refuses or is lost.
    """
    from pnas_tf.latency.calibrate import calibrate as calibrated
    from pnas_tf.latency.calibrate import knowledge_of

    known = knowledge_of(few, space, dtype=config.latency_dtype)
    with _measuring(device, ConversionConfig(), seed=seed, progress=progress) as setup:
        return calibrated(space, setup, config, few, known, seed=seed)


def budget(
    kind: str,
    most: float,
    *,
    table: LatencyTable | str | os.PathLike | None = None,
    dtype: str = DeriveConfig.size_dtype,
) -> Budget:
    """A hard budget, of which `SearchResult.derive` takes any number together.

    Args:
        kind: "latency_ms", "size_kb" of the exported file, "ram_kb", its tensor arena in TensorFlow
            Lite for Microcontrollers (int8), "macs" or "parameters". kB are 1000 bytes.
        most: in that unit.
        table: of the device that "latency_ms" is of; None: the search's own.
        dtype: of the file that "size_kb" is of, "int8" or "float32".

    Raises:
        UserError: there is no such kind, or `most` is not above 0.
    """
    from pnas_tf.search.budgets import Budget

    return Budget(kind, most, table, dtype)


def search(
    space: SearchSpace,
    data: ImageData,
    table: LatencyTable,
    *,
    target_latency_ms: float | None = None,
    pretrained: str | os.PathLike | None = None,
    recipe: SearchRecipe | None = None,
    folder: str | os.PathLike | None = None,
) -> SearchResult:
    """Learns which candidate op each block takes (section 3.2), guided by a table (section 3.3).

    Args:
        space: what can be searched.
        data: labelled images with the space's number of classes.
        table: latencies of the blocks of `space`, of `measure_latency`.
        target_latency_ms: what the network shall take; None: as the recipe says.
        pretrained: weights of other images that every candidate starts from: as of `train`, and of
            the search of a run folder all candidates. Options that the recipe leaves open are then
            those of such a start.
        recipe: options and seed; None: the defaults.
        folder: keeps checkpoints, history and TensorBoard events; a stopped search in it goes on.
            None takes a temporary one, which lives as long as the result.

    Returns:
        Path probabilities, and architectures by `derive`.

    Raises:
        UserError: the target is out of reach, the table lacks blocks, the classes differ, a split
            is smaller than a batch, or the pretrained weights cannot be read or do not suit the
            space; before any work.
    """
    from pnas_tf.interop.pretrained import open_pretrained
    from pnas_tf.search.api import search_architecture
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.training.result import check_classes

    recipe = recipe or SearchRecipe()
    if target_latency_ms is not None:
        config = dataclasses.replace(recipe.config, target_latency_ms=repr(target_latency_ms))
        recipe = dataclasses.replace(recipe, config=config)
    if pretrained is not None:
        recipe = dataclasses.replace(recipe, pretrained=open_pretrained(os.fspath(pretrained)))
    dataset = data.at(space.resolution)
    check_classes(space.classes, dataset)
    if folder is not None:
        return search_architecture(space, dataset, table, recipe, folder=folder)
    scratch = tempfile.TemporaryDirectory(prefix="pnas_")
    found = search_architecture(space, dataset, table, recipe, folder=scratch.name)
    weakref.finalize(found, scratch.cleanup)
    return found


def train(
    architecture: Architecture,
    data: ImageData,
    *,
    recipe: TrainRecipe | None = None,
    searched: SearchResult | None = None,
    pretrained: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
) -> keras.Model:
    """Trains the plain network of an architecture (section 4.2).

    Args:
        architecture: of `SearchResult.derive`, of a file, or published.
        data: labelled images with its number of classes.
        recipe: options and seed; None: the defaults.
        searched: the search whose supernet weights the network starts from; None starts from
            random ones.
        pretrained: weights of other images that it is fine-tuned from: "imagenet", a run folder
            or a file (docs/howto/pretrained.md). With `searched` its weights are taken, and these
            say how they began. Options that are not given are those of such a start.
        folder: keeps checkpoints and history; stopped training in it goes on.

    Returns:
        A tf_keras model: normalised images float32 [batch, height, width, 3] to logits
        [batch, classes].

    Raises:
        UserError: the classes differ, there is less than one batch, the pretrained weights cannot
            be read or are of another network, or the loss is not finite.
    """
    from pnas_tf.data.fitted_options import INHERIT, PRETRAINED
    from pnas_tf.interop.pretrained import open_pretrained
    from pnas_tf.interop.teachers import open_teacher
    from pnas_tf.training.fine_tuning import start_from
    from pnas_tf.training.loop import train_network
    from pnas_tf.training.recipe import TrainRecipe
    from pnas_tf.training.result import check_classes

    recipe, dataset = recipe or TrainRecipe(), data.at(architecture.space.resolution)
    check_classes(architecture.space.classes, dataset)
    if recipe.config.teacher:
        teacher = open_teacher(recipe.config.teacher, dataset.class_names)
        recipe = dataclasses.replace(recipe, teacher=teacher)
    start = None
    if pretrained is not None:
        init = INHERIT if searched is not None else PRETRAINED
        config = dataclasses.replace(recipe.config, init=init)
        recipe = dataclasses.replace(recipe, config=config)
    if searched is not None:
        size = dataset.fit_batch_size(recipe.config)
        start = searched.supernet_weights.network(architecture, dataset, batch_size=size)
    elif pretrained is not None:
        known = open_pretrained(os.fspath(pretrained))
        start, _ = start_from(known, architecture, dataset, recipe.optimizer)
    weights = start and start.get_weights()
    with tempfile.TemporaryDirectory(prefix="pnas_") as scratch:
        place = scratch if folder is None else folder
        model = train_network(architecture, dataset, recipe, place, initial_weights=weights).model
    model.architecture = architecture  # what `export` writes into the files
    return model


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
        model: logits of normalised images, as `train` gives.
        data: what it was trained on: int8 ranges, proof and labels come from it.
        formats: some of "float32", "float16", "dynamic_int8", "int8".
        config: input and output types and bounds; its `formats` are replaced.
        architecture: of the model; None: the one that `train` gave it.
        table: of the device: export rewrites that pay there are taken; None takes all that fit.

    Returns:
        Format -> file.

    Raises:
        UserError: a file departs from the network by more than the bounds allow, or the
            architecture is not known.
    """
    from pnas_tf.tflite.export import export_network
    from pnas_tf.tflite.exported_model import ExportedModels
    from pnas_tf.tflite.options import rewrites_of

    config = dataclasses.replace(config, formats=tuple(formats))
    network = architecture or getattr(model, "architecture", None)
    if network is None:
        raise UserError(
            "export of a network of unknown architecture",
            expected="one that pnas_tf.train made, or its architecture",
            received=f"a {type(model).__name__} without one",
            fix="Give architecture=..., of SearchResult.derive or Architecture.load.",
        )
    measured = {} if table is None else {table.identity.dtype: table.rewrites_of(network)}
    dataset = data.at(network.space.resolution)
    exported = export_network(
        model, dataset, config, architecture=network, rewrites=rewrites_of(config, measured)
    )
    return ExportedModels.of(exported, dataset.normalization.mean, dataset.normalization.std)


def benchmark(
    files: Mapping[str, str | os.PathLike] | ExportedModels,
    device: DeviceConfig = DeviceConfig(),
    *,
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = silent,
) -> Mapping[str, Measurement]:
    """Measures .tflite files on a device, interleaved.

    Args:
        files: of `export`, or name -> path.
        device: one device.
        conversion: the folder where the reference model is kept.
        seed: of the order of measurements.
        progress: called with lines for the user.

    Returns:
        Name -> measurement, with `median_ms`, `p90_ms` and the raw samples.

    Raises:
        UserError: a file is no model, none could be measured, or the device is absent or lost.
    """
    from pnas_tf.latency.measure_files import measure_files
    from pnas_tf.tflite.exported_model import ExportedModels

    with tempfile.TemporaryDirectory(prefix="pnas_") as scratch:
        paths = files.save(scratch) if isinstance(files, ExportedModels) else files
        with _measuring(device, conversion, seed=seed, progress=progress, few=True) as setup:
            return measure_files(
                {name: Path(path) for name, path in paths.items()}, setup
            ).measurements


@contextlib.contextmanager
def _measuring(
    device: DeviceConfig,
    conversion: ConversionConfig,
    *,
    seed: int,
    progress: Progress,
    few: bool = False,
) -> Iterator[MeasurementSetup]:
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.measure_sources import MeasurementSetup

    runner = runner_for(device, say=progress)
    try:
        schedule = schedule_for(device, runner, seed=seed, few_models=few)
        yield MeasurementSetup(runner, schedule, conversion, progress)
    finally:
        runner.close()
