"""What a network takes in parts of what the reference file takes, and the networks that fit a share
of it. Both are always measured in one interleaved session, so that no drift lies between them."""

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
    """The file whose latency is the budget. path: of its float32 form."""

    path: Path

    def shares(self, models: Mapping[str, keras.Model]) -> dict[str, float]:
        """What each model takes in parts of what the reference takes, float32, one thread, its
        weights as they are."""
        with tempfile.TemporaryDirectory() as scratch:
            files = {REFERENCE: self.path}
            for name, model in models.items():
                files[name] = Path(scratch) / f"{name}.tflite"
                files[name].write_bytes(convert(with_probabilities(model), "float32"))
            measured = pnas.benchmark(files, progress=print)
        unit = measured[REFERENCE].median_ms
        return {name: measured[name].median_ms / unit for name in models}

    def latency_ms(self, kept: Path) -> float:
        """Measured once and kept, for a search that needs a number; budgets are held to by
        `shares`."""
        if not kept.is_file():
            measured = pnas.benchmark({REFERENCE: self.path}, progress=print)[REFERENCE]
            atomic.write_json(kept, {"median_ms": measured.median_ms})
        return float(json.loads(kept.read_text())["median_ms"])


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
    make: Callable[[float], Architecture], target_ms: float, share: float, reference: Reference
) -> Architecture:
    """A network of `make(predicted ms)` that is measured to take at most `share` of the reference,
    by the same margin as `slowest_within`: made again for less where it takes more. Raises
    ValueError after `TRIES`."""
    for _ in range(TRIES):
        found = make(target_ms)
        taken = reference.shares({"made": untrained(found)})["made"] / share
        print(f"predicted for {target_ms:.4g} ms; takes {taken:.3f} of its budget", flush=True)
        if taken <= MARGIN:
            return found
        target_ms *= MARGIN**2 / taken  # below what is taken, by what sessions differ by once more
    raise ValueError(f"no network takes {share:g} of the reference after {TRIES} tries")
