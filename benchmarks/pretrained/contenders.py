"""Who competes at one latency, and how each is made: five kinds of network of one budget, trained
for the same number of epochs.

Every contender leaves a folder with its files and a result.json; one that is there is not made
again.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tf_keras as keras

import pnas_tf as pnas
from benchmarks.evidence.contenders import random_within
from benchmarks.pretrained.tasks import Task
from pnas_tf.config import SearchConfig, TrainConfig
from pnas_tf.data.fitted_options import fitted_training
from pnas_tf.io import atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.networks.network import build_network
from pnas_tf.search.quantities import latency_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import MBConv
from pnas_tf.space.published import published
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites
from pnas_tf.training.evaluate import evaluate
from pnas_tf.training.recipe import TrainRecipe

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Place:
    """One task at one budget with one seed.

    Attributes:
        space: of the search.
        table: its latencies on the device.
        target_ms: the budget.
        folder: of all contenders.
    """

    task: Task
    space: SearchSpace
    table: LatencyTable
    target_ms: float
    seed: int
    folder: Path

    @property
    def recipe(self) -> TrainRecipe:
        """One training for all: as many epochs as fine-tuning takes by default."""
        sizes = self.task.data.sizes
        tuned = fitted_training(TrainConfig(init="pretrained"), sizes.train + sizes.validation)
        return TrainRecipe(TrainConfig(epochs=tuned.epochs), seed=self.seed)


def searched(place: Place, *, pretrained: str | None) -> keras.Model:
    """(a) from pretrained weights, (d) from random ones."""
    folder = place.folder / "search"
    config = SearchConfig(target_latency_ms=repr(place.target_ms))
    found = pnas.search(
        place.space,
        place.task.data,
        place.table,
        pretrained=pretrained,
        recipe=SearchRecipe(config, seed=place.seed),
        folder=folder,
    )
    architecture = found.derive()
    return pnas.train(
        architecture,
        place.task.data,
        recipe=place.recipe,
        searched=found if pretrained else None,
        pretrained=pretrained,
        folder=place.folder / "train",
    )


def lower_resolution(place: Place) -> keras.Model:
    """(b) EfficientNet-Lite0 with ImageNet's weights, at the largest resolution at which it takes
    the budget's share of its own time, by measurement in one session."""
    own = published("efficientnet_lite0", resolution=place.space.resolution)
    whole = dataclasses.replace(own, space=_of_classes(own.space, place))
    share = place.target_ms / place.table.predict_ms(_in_space(whole, place.space))
    sizes = range(place.space.resolution, 24, -8)
    networks = {
        str(size): dataclasses.replace(
            whole, space=dataclasses.replace(whole.space, resolution=size)
        )
        for size in sizes
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.tflite" for name in networks}
        for name, network in networks.items():
            model = build_network(network)
            files[name].write_bytes(convert(apply_rewrites(model, applicable(model)), "float32"))
        measured = pnas.benchmark(files, progress=print)
    most = share * measured[str(sizes[0])].median_ms
    fast = [name for name in networks if measured[name].median_ms <= most]
    return _fine_tuned(networks[fast[0] if fast else str(sizes[-1])], place)


def mobilenet_v2(place: Place) -> keras.Model:
    """(c) MobileNetV2's blocks (kernel 3, expansion 6) with random weights, as wide as the budget
    allows by its MACs."""
    assert isinstance(place.space, MBConvSpace)
    ops = tuple(MBConv(3, 6) for _ in place.space.choice_blocks)
    whole = Architecture(place.space, ops)
    share = min(1.0, place.target_ms / place.table.predict_ms(whole))
    widths = (place.space.with_width(number / 40) for number in range(40, 3, -1))
    narrowed = (Architecture(space, ops) for space in widths)
    network = next(net for net in narrowed if net.macs <= share * whole.macs)
    return pnas.train(network, place.task.data, recipe=place.recipe, folder=place.folder / "train")


def random(place: Place) -> keras.Model:
    """(e) a random architecture of the space, each block from the same pretrained weights."""
    quantity = latency_quantity(place.space, place.table)
    [network] = random_within(place.space, quantity, place.target_ms, count=1, seed=place.seed)
    return _fine_tuned(network, place)


CONTENDERS: dict[str, Callable[[Place], keras.Model]] = {
    "searched": lambda place: searched(place, pretrained=IMAGENET),
    "lite0_smaller": lower_resolution,
    "mobilenet_v2": mobilenet_v2,
    "from_scratch": lambda place: searched(place, pretrained=None),
    "random": random,
}


def make(name: str, place: Place) -> dict[str, object]:
    """The contender's result, made where it is not there yet: test accuracy of Keras, float32 and
    int8, MACs, bytes, minutes (None: it was stopped once), and the files' paths."""
    path = place.folder / "result.json"
    if path.is_file():
        return json.loads(path.read_text())
    whole = not place.folder.exists()
    place.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    model = CONTENDERS[name](place)
    minutes = (time.monotonic() - began) / 60
    network = model.architecture
    dataset = place.task.data.at(network.space.resolution)
    table = place.table if network.space.resolution == place.space.resolution else None
    files = pnas.export(model, place.task.data, table=table)
    paths = files.save(place.folder)
    result = {
        "contender": name,
        "accuracy": {
            "keras": evaluate(model, dataset.test_batches(batch_size=64)).accuracy,
            **{dtype: exported.parity.tflite_accuracy for dtype, exported in files.items()},
        },
        "macs": network.macs,
        "parameters": network.parameters,
        "resolution": network.space.resolution,
        "bytes": {dtype: path.stat().st_size for dtype, path in paths.items()},
        "files": {dtype: str(path) for dtype, path in paths.items()},
        "minutes": minutes if whole else None,
        "ops": [op.key for op in network.ops],
    }
    atomic.write_json(path, result)
    return result


def _fine_tuned(network: Architecture, place: Place) -> keras.Model:
    return pnas.train(
        network,
        place.task.data,
        recipe=place.recipe,
        pretrained=IMAGENET,
        folder=place.folder / "train",
    )


def _of_classes(space: SearchSpace, place: Place) -> SearchSpace:
    return dataclasses.replace(space, classes=place.space.classes)


def _in_space(network: Architecture, space: SearchSpace) -> Architecture:
    """The same ops in the searched space, whose table has their latencies."""
    return Architecture(space, network.ops)
