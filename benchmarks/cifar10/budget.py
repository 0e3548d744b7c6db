"""What a network takes in parts of what the reference takes, in float32 and in int8, and the
networks that fit a share of both. All are always measured in one interleaved session, so that no
drift lies between them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import tf_keras as keras

import pnas_tf as pnas
from pnas_tf.io import atomic
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.space.architecture import Architecture
from pnas_tf.tflite.convert import convert

REFERENCE = "reference"
TRIES = 4
# A network that is chosen is at most this part of its budget: what sessions differ by.
MARGIN = 0.985
Network = TypeVar("Network")


@dataclass(frozen=True)
class Reference:
    """The files whose latencies are the budget. files: dtype -> its form in that."""

    files: Mapping[str, Path]

    def shares(self, models: Mapping[str, keras.Model]) -> dict[str, float]:
        """What each model takes in parts of what the reference takes, one thread, its weights as
        they are: the largest part over the dtypes."""
        with tempfile.TemporaryDirectory() as scratch:
            files = {(REFERENCE, dtype): path for dtype, path in self.files.items()}
            for name, model in models.items():
                network = with_probabilities(model)
                for dtype in self.files:
                    files[name, dtype] = Path(scratch) / f"{name}_{dtype}.tflite"
                    files[name, dtype].write_bytes(shipped(network, dtype, _noise(model)))
            session = {"_".join(key): path for key, path in files.items()}
            measured = pnas.benchmark(session, progress=print)
        ms = {key: measured["_".join(key)].median_ms for key in files}
        return {
            name: max(ms[name, dtype] / ms[REFERENCE, dtype] for dtype in self.files)
            for name in models
        }

    def latency_ms(self, kept: Path) -> dict[str, float]:
        """dtype -> ms, measured once and kept, for a search that needs numbers; budgets are held to
        by `shares`."""
        if not kept.is_file():
            measured = pnas.benchmark(dict(self.files), progress=print)
            atomic.write_json(kept, {dtype: measured[dtype].median_ms for dtype in self.files})
        return {dtype: float(json.loads(kept.read_text())[dtype]) for dtype in self.files}


def shipped(network: keras.Model, dtype: str, images: np.ndarray) -> bytes:
    """The .tflite that all contenders ship: int8 is calibrated on images and takes bytes of pixels,
    and gives probabilities as float32 does."""
    if dtype == "float32":
        return convert(network, "float32")
    return convert(
        network, "int8", representative=images, input_type="uint8", output_type="float32"
    )


def _noise(model: keras.Model) -> np.ndarray:
    """Images to calibrate a network that is only measured on."""
    shape = (8, *model.input_shape[1:])
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def untrained(architecture: Architecture) -> keras.Model:
    """Its network, converting to the ops that the trained one converts to."""
    return with_statistics(build_network(architecture))


def with_statistics(model: keras.Model) -> keras.Model:
    """The model with biases and statistics that no converter leaves out or folds: no two alike,
    none 0."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank == 1:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return model


def slowest_within(
    networks: Sequence[Network],
    share: float,
    reference: Reference,
    build: Callable[[Network], keras.Model],
) -> Network:
    """The one that takes most among those that take at most `share` of the reference. Raises
    ValueError where all take more."""
    models = {f"network_{number}": build(network) for number, network in enumerate(networks)}
    found = reference.shares(models)
    fitting = [
        (taken, number)
        for number, taken in enumerate(found[name] for name in models)
        if taken <= MARGIN * share
    ]
    if not fitting:
        raise ValueError(f"all take more than {share:g} of the reference: {found}")
    return networks[max(fitting)[1]]


def within(
    make: Callable[[float], Architecture], share: float, reference: Reference
) -> Architecture:
    """A network of `make(predicted share)` that is measured to take at most `share` of the
    reference, by the same margin as `slowest_within`: made again for less where it takes more.
    Raises ValueError after `TRIES`."""
    asked = share
    for _ in range(TRIES):
        found = make(asked)
        taken = reference.shares({"made": untrained(found)})["made"] / share
        print(f"predicted for {asked:.4g} of it; takes {taken:.3f} of its budget", flush=True)
        if taken <= MARGIN:
            return found
        asked *= MARGIN**2 / taken  # below what is taken, by what sessions differ by once more
    raise ValueError(f"no network takes {share:g} of the reference after {TRIES} tries")
