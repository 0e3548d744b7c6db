"""Who competes at one latency, and how each is made: networks of one budget, trained by one recipe
for equal epochs.

Every contender leaves a folder with its files and a result.json; one that is there is not made
again, one that was stopped goes on. The choice among networks sees train and validation images
alone; test images are looked at by networks that are done.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import tf_keras as keras

import pnas_tf as pnas
from benchmarks.cifar10.budget import (
    Reference,
    slowest_within,
    untrained,
    with_statistics,
    within,
)
from benchmarks.cifar10.networks import (
    MADE_WITH,
    accuracy_of,
    exported,
    settings_of,
    stored_result,
    train_model,
)
from benchmarks.cifar10.resnet import FILTERS, macs_of, resnet8
from benchmarks.evidence.contenders import random_within
from pnas_tf.config import OptimizerConfig, SearchConfig, TrainConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.image_data import ImageData
from pnas_tf.io import atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import MANIFEST, Artifact
from pnas_tf.search.quantities import latency_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.result import SearchResult
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import MBConv
from pnas_tf.training.recipe import TrainRecipe

RESULT = "result.json"
MODELS = Path(__file__).parents[2] / "tflite_models"
WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
DEPTHS = (1, 2, 3)
# EfficientNet-Lite's kernels by size of image, at 32, 16, 8 and 4 pixels (Tan and Le 2019, table 1,
# stages 2, 3, 5 and 6), and MobileNetV2's.
LITE_KERNELS, MOBILENET_KERNELS = (3, 5, 5, 5), (3, 3, 3, 3)


@dataclass(frozen=True)
class Workshop:
    """What all contenders are made of.

    Attributes:
        data: CIFAR-10.
        space: of the search; the macro-layout of `mobilenet_v2` and `efficientnet_lite` too.
        tables: dtype -> its latencies.
        reference: whose latencies are the budget.
        reference_ms: dtype -> of that, for the search.
        train: epochs and recipe, the same for all.
        optimizer: of that.
        search: phases of the search.
        output: folder of everything.
    """

    data: ImageData
    space: MBConvSpace
    tables: Mapping[str, LatencyTable]
    reference: Reference
    reference_ms: Mapping[str, float]
    train: TrainConfig
    optimizer: OptimizerConfig
    search: SearchConfig
    output: Path

    @functools.cached_property
    def dataset(self) -> Dataset:
        """At the space's resolution; read once."""
        return self.data.at(self.space.resolution)

    @property
    def settings(self) -> dict[str, object]:
        """All that contenders must have alike, as JSON."""
        return {
            **settings_of(self.train, self.dataset),
            "optimizer": dataclasses.asdict(self.optimizer),
            "search": dataclasses.asdict(self.search),
        }

    def rows(self) -> list[dict[str, object]]:
        """The results of every contender in `output`. Raises UserError where one was made with
        other settings."""
        paths = sorted(self.output.glob(f"*/{RESULT}"))
        return [stored_result(path, self.settings) for path in paths]

    def searched(self, seed: int, *, one_shot: bool) -> SearchResult:
        """One search a seed, for the reference's float32 latency; all budgets, int8's too, are
        derived from it. one_shot: the supernet trained by uniform paths, and the effect model
        fitted to it."""
        target = repr(self.reference_ms["float32"])
        config = dataclasses.replace(self.search, target_latency_ms=target)
        name = f"search_{seed}"
        if one_shot:
            config, name = dataclasses.replace(config, algorithm="one_shot"), f"one_shot_{seed}"
        return pnas.search(
            self.space,
            self.data,
            self.tables["float32"],
            recipe=SearchRecipe(config, seed=seed),
            folder=self.output / name,
        )


@dataclass(frozen=True)
class Place:
    """One budget with one seed. share: of the reference's latency. folder: of the contender."""

    workshop: Workshop
    share: float
    seed: int
    folder: Path


Made: TypeAlias = "Architecture | keras.Model"


def searched(place: Place, *, one_shot: bool = False) -> Architecture:
    """(a) derived from the search at the budget, of float32 and of int8."""
    shop = place.workshop
    found = shop.searched(place.seed, one_shot=one_shot)

    def derived(share: float) -> Architecture:
        budgets = [
            pnas.budget("latency_ms", share * ms, table=shop.tables[dtype])
            for dtype, ms in shop.reference_ms.items()
        ]
        return found.derive(budgets=budgets, progress=print)

    return within(derived, place.share, shop.reference)


def of_this_project(place: Place) -> Architecture:
    """The network of tflite_models/, which such a search found."""
    path = MODELS / MANIFEST
    models = json.loads(path.read_text())["models"]
    return Architecture.from_json(models["cifar10_float32.tflite"]["architecture"], where=str(path))


def reference_network(place: Place) -> keras.Model:
    """(b) ResNet-8 itself at its own latency; wider or narrower at others."""
    build = functools.partial(resnet8, seed=place.seed)
    if place.share == 1.0:
        return build()
    filters = list(range(FILTERS // 4, 3 * FILTERS + 1, 2))
    chosen = slowest_within(
        filters,
        place.share,
        place.workshop.reference,
        lambda count: with_statistics(build(filters=count)),
    )
    return build(filters=chosen)


def mobilenet_v2(place: Place) -> Architecture:
    """(c) MobileNetV2's block (kernel 3, expansion 6) everywhere, as deep and wide as fits."""
    return _slowest(place, MOBILENET_KERNELS)


def efficientnet_lite(place: Place) -> Architecture:
    """(d) EfficientNet-Lite's blocks (expansion 6, kernels 3 and 5), as deep and wide as fits."""
    return _slowest(place, LITE_KERNELS)


def random(place: Place) -> Architecture:
    """(e) drawn uniformly among the networks of the space at the budget."""
    shop = place.workshop
    quantity = latency_quantity(shop.space, shop.tables["float32"])

    def drawn(share: float) -> Architecture:
        target_ms = share * shop.reference_ms["float32"]
        [network] = random_within(shop.space, quantity, target_ms, count=1, seed=place.seed)
        return network

    return within(drawn, place.share, shop.reference)


CONTENDERS: dict[str, Callable[[Place], Made]] = {
    "searched": searched,
    "one_shot": functools.partial(searched, one_shot=True),
    "published": of_this_project,
    "resnet8": reference_network,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite": efficientnet_lite,
    "random": random,
}


def uniform_networks(space: MBConvSpace, kernels: tuple[int, ...]) -> list[Architecture]:
    """Expansion 6 and one kernel a stage of `space`, of all depths and widths."""
    ops = tuple(MBConv(kernel, 6) for kernel in kernels)
    networks = []
    for depth, width in itertools.product(DEPTHS, WIDTHS):
        stages = tuple(
            dataclasses.replace(stage, blocks=depth, candidates=(op,))
            for stage, op in zip(space.stages, ops, strict=True)
        )
        sized = dataclasses.replace(space, stages=stages).with_width(width)
        chosen = tuple(ops[choice.stage] for choice in sized.choice_blocks)
        networks.append(Architecture(sized, chosen))
    return networks


def _slowest(place: Place, kernels: tuple[int, ...]) -> Architecture:
    networks = uniform_networks(place.workshop.space, kernels)
    return slowest_within(networks, place.share, place.workshop.reference, untrained)


def make(name: str, place: Place) -> dict[str, object]:
    """The contender's result, made where it is not there yet: test accuracy of its files, MACs,
    bytes, minutes (None: it was stopped once), and the files' paths."""
    path, shop = place.folder / RESULT, place.workshop
    if path.is_file():
        return stored_result(path, shop.settings)
    whole = not place.folder.exists()
    place.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found = _found(name, place)
    recipe = TrainRecipe(shop.train, shop.optimizer, seed=place.seed)
    if isinstance(found, Architecture):
        model = pnas.train(found, shop.data, recipe=recipe, folder=place.folder / "train")
        macs, ops = found.macs, [op.key for op in found.ops]
    else:
        model = train_model(found, shop.dataset, recipe, place.folder / "train")
        macs, ops = macs_of(found), [found.name]
    paths = exported(model, shop.dataset, place.folder)
    result = {
        "contender": name,
        "share": place.share,
        "seed": place.seed,
        "accuracy": {dtype: accuracy_of(file, shop.dataset) for dtype, file in paths.items()},
        "macs": macs,
        "parameters": model.count_params(),
        "ops": ops,
        "bytes": {dtype: file.stat().st_size for dtype, file in paths.items()},
        "files": {dtype: str(file) for dtype, file in paths.items()},
        "minutes": (time.monotonic() - began) / 60 if whole else None,
        MADE_WITH: shop.settings,
    }
    atomic.write_json(path, result)
    return result


def _found(name: str, place: Place) -> Made:
    """What is trained; an architecture is kept, so that a stopped training goes on with the same
    one."""
    kept, filters = place.folder / Artifact.ARCHITECTURE, place.folder / "filters.json"
    if kept.is_file():
        return Architecture.load(kept)
    if filters.is_file():
        return resnet8(filters=json.loads(filters.read_text())["filters"], seed=place.seed)
    found = CONTENDERS[name](place)
    if isinstance(found, Architecture):
        found.save(kept)
    else:
        width = found.get_layer("stem/conv").filters
        atomic.write_json(filters, {"filters": width})
    return found
