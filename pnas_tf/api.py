"""The public API: from labelled images to a measured .tflite, one function a step.

  import pnas_tf as pnas

  data = pnas.data.from_folder("photos")
  space = pnas.space("proxyless", resolution=96, classes=data.class_names)
  table = pnas.measure_latency(space, pnas.device("host"))
  found = pnas.search(space, data, table, target_latency_ms=8.0)
  limits = [pnas.budget("size_kb", 300)]
  model = pnas.train(found.derive(budgets=limits), data)
  files = pnas.export(model, data, formats=("float32", "int8"), table=table, budgets=limits)
  times = pnas.benchmark(files, pnas.device("host"))

What measures on a device stands in `measuring.py`; `fitting.fit` does all of it. Every option is a
field of a class in `pnas_tf.config`. Nothing is kept unless a folder is given. Loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
import tempfile
import weakref
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Literal

from pnas_tf.config import DeriveConfig, ExportConfig, SpaceConfig
from pnas_tf.errors import UserError
from pnas_tf.run.os_errors import as_users
from pnas_tf.run.signals import going_on
from pnas_tf.run.terminal import TERMINAL, say

if TYPE_CHECKING:
    import numpy as np
    import tf_keras as keras

    from pnas_tf.data import ImageData
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.networks.takeover import Takeover
    from pnas_tf.search.budgets import Budget
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.result import SearchResult
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.exported_model import ExportedModels
    from pnas_tf.training.recipe import TrainRecipe


def space(
    name: str | os.PathLike,
    *,
    classes: int | Sequence[str],
    resolution: int | None = SpaceConfig.resolution,
    width: float = SpaceConfig.width,
) -> SearchSpace:
    """A search space for a number of classes.

    Args:
        name: "proxyless", "lite", "tiny", "cifar", "mnv4", "mcu", "pyramid_tree", or FILE.json
            with a space of your own.
        classes: how many, or their names (`data.class_names`).
        resolution: input size in pixels; None is the space's own.
        width: multiplier of all channel counts.

    Returns:
        The space: frozen data, no weights.

    Raises:
        UserError: there is no such space, its file is no space, or a number cannot be.
    """
    from pnas_tf.space.registry import open_space

    if isinstance(classes, numbers.Integral) and not isinstance(classes, bool):
        count = int(classes)
    elif isinstance(classes, Sized) and not isinstance(classes, str):
        count = len(classes)
    else:
        raise UserError(
            "classes of a search space",
            expected="how many, or a list of their names",
            received=repr(classes)[:200],
            fix="Give e.g. classes=10, or classes=data.class_names.",
        )
    asked = SpaceConfig(os.fspath(name), resolution, width)
    return open_space(asked.space, classes=count, resolution=asked.resolution, width=asked.width)


def quiet(on: bool = True) -> None:
    """Nothing but warnings and errors is printed from here on; `quiet(False)` takes that back.

    Otherwise work that takes long shows how far it is on standard error: on a terminal in one line
    that is drawn anew, in a notebook once a minute.

    Args:
        on: whether it is quiet.
    """
    TERMINAL.quiet = on


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
        UserError: there is no such kind, `most` is no number above 0, or there is a `table` or a
            `dtype` that the kind has none of.
    """
    from pnas_tf.search.budgets import Budget

    return Budget(kind, most, table, dtype)


@as_users()
def search(
    space: SearchSpace,
    data: ImageData,
    table: LatencyTable,
    *,
    target_latency_ms: float | Literal["auto"] | None = None,
    pretrained: str | os.PathLike | None = None,
    budgets: Sequence[Budget] = (),
    recipe: SearchRecipe | None = None,
    folder: str | os.PathLike | None = None,
) -> SearchResult:
    """Learns which candidate op each block takes (section 3.2), guided by a table (section 3.3).

    Args:
        space: what can be searched.
        data: labelled images with the space's number of classes.
        table: latencies of the blocks of `space`, of `measure_latency`.
        target_latency_ms: what the network shall take; "auto": the middle of what the space can do;
            None: as the recipe says.
        pretrained: weights of other images that every candidate starts from: as of `train`, and of
            the search of a run folder all candidates. Options that the recipe leaves open are then
            those of such a start. `train(..., searched=found)` goes on from what they became.
        budgets: hard ones (`budget`), which derivations keep; but for those of files, what no
            network keeps together is refused before the search.
        recipe: options and seed; None: the defaults.
        folder: keeps checkpoints, history and TensorBoard events; a stopped search in it goes on.
            None takes a temporary one, which lives as long as the result.

    Returns:
        Path probabilities, and architectures by `derive`.

    Raises:
        UserError: the target is out of reach, the table lacks blocks, the classes differ, a split
            is smaller than a batch, or the weights cannot be read or do not suit; before any work.
    """
    from pnas_tf.interop.pretrained import open_pretrained
    from pnas_tf.search.api import search_architecture
    from pnas_tf.search.derivation import check_together
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.start import start_lines
    from pnas_tf.steps.requests import check_given

    recipe = recipe or SearchRecipe()
    if target_latency_ms is not None:
        config = dataclasses.replace(recipe.config, target_latency_ms=str(target_latency_ms))
        recipe = dataclasses.replace(recipe, config=config)
    check_given(recipe.config, recipe.device)
    if pretrained is not None:
        recipe = recipe.starting_from(open_pretrained(os.fspath(pretrained)))
    dataset = _dataset_for(space, data)
    check_together(space, table, recipe.config, budgets)
    _tell(start_lines(space, dataset, recipe.started()))
    scratch = None
    if folder is None:
        scratch = tempfile.TemporaryDirectory(prefix="pnas_")
        folder = scratch.name
    with going_on("folder", None if scratch else folder):
        found = search_architecture(space, dataset, table, recipe, folder=folder)
    found = dataclasses.replace(found, budgets=tuple(budgets))
    if scratch is not None:
        weakref.finalize(found, scratch.cleanup)
    return found


@as_users()
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
        searched: the search whose supernet weights the network starts from. An architecture does
            not know it: without it also one that was found from pretrained weights starts anew.
        pretrained: weights of other images that it is fine-tuned from: "imagenet", a run folder
            or a file (docs/howto/pretrained.md). With `searched` that search's weights are taken,
            and these are not looked at. Without both it starts from random ones. Options that are
            not given are those of such a start.
        folder: keeps checkpoints, history and what was taken over (pretrained.json); stopped
            training in it goes on.

    Returns:
        A tf_keras model: normalised images float32 [batch, height, width, 3] to logits
        [batch, classes].

    Raises:
        UserError: the classes differ, there is less than one batch, the pretrained weights cannot
            be read or suit neither network nor recipe, or the loss is not finite.
    """
    from pnas_tf.data.fitted_options import INHERIT, PRETRAINED, SCRATCH
    from pnas_tf.steps.requests import check_given
    from pnas_tf.training.loop import train_network
    from pnas_tf.training.recipe import TrainRecipe

    recipe = recipe or TrainRecipe()
    if recipe.teacher is None:  # else it is there without its option
        check_given(recipe.config)
    dataset = _dataset_for(architecture.space, data.for_training(recipe.config))
    recipe = _taught(recipe, dataset)
    given = SCRATCH if pretrained is None else PRETRAINED
    recipe = recipe.starting_from(given if searched is None else INHERIT)
    weights, takeover = _start(architecture, dataset, recipe, searched, pretrained)
    with tempfile.TemporaryDirectory(prefix="pnas_") as scratch, going_on("folder", folder):
        place = scratch if folder is None else folder
        model = train_network(architecture, dataset, recipe, place, initial_weights=weights).model
        if takeover is not None:
            takeover.save(place)
    model.architecture = architecture  # what `export` writes into the files
    return model


def _taught(recipe: TrainRecipe, dataset: Dataset) -> TrainRecipe:
    """With the teacher that it names."""
    from pnas_tf.interop.teachers import open_teacher

    if not recipe.config.teacher:
        return recipe
    teacher = open_teacher(recipe.config.teacher, dataset.class_names)
    return dataclasses.replace(recipe, teacher=teacher)


def _dataset_for(space: SearchSpace, data: ImageData) -> Dataset:
    """The images at the space's resolution. Raises UserError where the classes differ."""
    from pnas_tf.training.result import check_classes

    dataset = data.at(space.resolution)
    check_classes(space.classes, dataset)
    return dataset


def _start(
    architecture: Architecture,
    dataset: Dataset,
    recipe: TrainRecipe,
    searched: SearchResult | None,
    pretrained: str | os.PathLike | None,
) -> tuple[list[np.ndarray] | None, Takeover | None]:
    """(The weights of a training's start, what of them was taken over from other images), which is
    said; None: drawn."""
    from pnas_tf.interop.pretrained import open_pretrained
    from pnas_tf.training.fine_tuning import start_from

    if searched is not None:
        size = dataset.fit_batch_size(recipe.config)
        start = searched.supernet_weights.network(architecture, dataset, batch_size=size)
        return start.get_weights(), None
    if pretrained is None:
        return None, None
    known = open_pretrained(os.fspath(pretrained))
    start, takeover = start_from(known, architecture, dataset, recipe.optimizer, seed=recipe.seed)
    _tell(takeover.lines())
    return start.get_weights(), takeover


def _tell(lines: Sequence[str]) -> None:
    """Lines that everybody reads, unless it is quiet."""
    with TERMINAL.speaking():
        for line in lines:
            say(line)


@as_users()
def export(
    model: keras.Model,
    data: ImageData,
    *,
    formats: Sequence[str] | None = None,
    config: ExportConfig = ExportConfig(),
    architecture: Architecture | None = None,
    table: LatencyTable | None = None,
    budgets: Sequence[Budget] = (),
) -> ExportedModels:
    """Converts a trained network to TensorFlow Lite, and proves each file equal to it.

    Args:
        model: logits of normalised images, as `train` gives.
        data: what it was trained on: int8 ranges, proof and labels come from it.
        formats: some of "float32", "float16", "dynamic_int8", "int8"; None: those of config.
        config: input and output types and bounds. What trains further is for `fit`.
        architecture: of the model; None: the one that `train` gave it.
        table: of the device: export rewrites that pay there are taken; None takes all that fit.
            That of the search where the network was derived within budgets of files, which are
            judged with its rewrites.
        budgets: hard ones, as of `SearchResult.derive`; files are held to those of size and RAM.

    Returns:
        Format -> file.

    Raises:
        UserError: a file departs from the network by more than the bounds allow or is beyond a
            budget, no format is the one that a budget is of, or the architecture is not known.
    """
    from pnas_tf.networks.network import refuse_keras_3
    from pnas_tf.report.budgets import check_files, check_formats
    from pnas_tf.steps.requests import check_given
    from pnas_tf.tflite.export import export_network
    from pnas_tf.tflite.exported_model import ExportedModels
    from pnas_tf.tflite.options import refuse_further_training, rewrites_of

    refuse_further_training(config)
    config = dataclasses.replace(config, formats=tuple(formats or config.formats))
    check_given(config)
    check_formats(budgets, config.formats)
    network = architecture or getattr(model, "architecture", None)
    refuse_keras_3(model)
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
    contents = {report.dtype: exported.contents[name] for name, report in exported.reports.items()}
    check_files(budgets, contents)
    return ExportedModels.of(exported)
