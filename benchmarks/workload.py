"""What the benchmarks of search steps run: a supernet and its steps, and the plain network of one
path as one graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pnas_tf.config import OptimizerConfig
from pnas_tf.networks.network import build_network
from pnas_tf.search import sampling
from pnas_tf.search.gate_gradient import GateSample, architecture_gradient, sample_gates
from pnas_tf.search.objective import RegularisedObjective
from pnas_tf.search.weight_step import Momentum, weight_step
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.complexity import macs
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.step import TrainStep

DECAY, SMOOTHING, RATE = 4e-5, 0.1, 0.01


@dataclass
class Workload:
    """A supernet with one random batch of `batch` images."""

    space: SearchSpace
    batch: int

    def __post_init__(self) -> None:
        self.images, self.labels = self.batch_of(self.space, self.batch)
        self.supernet = Supernet(self.space, numerics=Numerics(weight_decay=DECAY))
        self.momentum = Momentum(OptimizerConfig(label_smoothing=SMOOTHING))
        self._objective = RegularisedObjective(
            targets=(), regulariser="none", weight=0.0, exponent=0.0, slope=0.0, combination="sum"
        )

    @staticmethod
    def batch_of(space: SearchSpace, batch: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Random images and labels."""
        generator = np.random.default_rng(0)
        return (
            tf.constant(
                generator.standard_normal((batch, space.resolution, space.resolution, 3)),
                tf.float32,
            ),
            tf.constant(generator.integers(0, space.classes, batch), tf.int32),
        )

    @property
    def uniform_path(self) -> ChoiceIndices:
        """That of `plain_architecture`."""
        ops = plain_architecture(self.space).ops
        choices = self.space.choice_blocks
        return tuple(choice.candidates.index(op) for choice, op in zip(choices, ops, strict=True))

    def weight_step(self, path: ChoiceIndices) -> None:
        """One weight step on `path`."""
        weight_step(
            self.supernet,
            path,
            self.images,
            self.labels,
            optimizer=self.momentum,
            learning_rate=RATE,
        )

    def architecture_step(self, gate_mode: str, seed: int) -> None:
        """The gradient of one architecture step, gates drawn from `seed`."""
        architecture_gradient(
            self.supernet,
            self.sample(gate_mode, seed),
            self.images,
            self.labels,
            objective=self._objective,
        )

    def sample(self, gate_mode: str, seed: int) -> Any:
        """What an architecture step of this seed looks at."""
        return sample_gates(
            [np.zeros(len(choice.candidates)) for choice in self.space.choice_blocks],
            gate_mode,
            sampling.generator_at(seed, "gates", 0),
        )

    def two_path_of(self, first: int, second: int) -> None:
        """A two-path architecture step that looks at these two candidates of every block and runs
        the first; at the only one where a block has no more."""
        sizes = [len(choice.candidates) for choice in self.space.choice_blocks]
        pairs = tuple((first, second) if size > 1 else (0,) for size in sizes)
        everything = tuple(
            np.full(len(choice.candidates), 1 / len(choice.candidates))
            for choice in self.space.choice_blocks
        )
        sample = GateSample(
            pairs,
            tuple(np.full(len(pair), 1 / len(pair)) for pair in pairs),
            tuple(pair[0] for pair in pairs),
            everything,
            "two_path",
        )
        architecture_gradient(
            self.supernet,
            sample,
            self.images,
            self.labels,
            objective=self._objective,
        )

    def own_bytes(self, path: ChoiceIndices) -> int:
        """Weights, statistics and momenta of all candidates, less those of one path."""
        on_path = {name for block in self.supernet.blocks_on(path) for name in block.named}
        trained = {
            name
            for block in self.supernet.all_blocks()
            for name, variable in block.named.items()
            if variable.trainable
        }
        return sum(
            4 * variable.shape.num_elements() * (1 + (name in trained))
            for name, variable in self.supernet.named_variables().items()
            if name not in on_path
        )

    def run_every_candidate(self) -> None:
        """A weight step through each candidate of each block, so that all are compiled."""
        for number in range(max(len(choice.candidates) for choice in self.space.choice_blocks)):
            self.weight_step(
                tuple(
                    min(number, len(choice.candidates) - 1) for choice in self.space.choice_blocks
                )
            )


def plain_architecture(space: SearchSpace) -> Architecture:
    """Kernel 3, expansion 6 in every block; where no such MBConv is offered, what has most MACs."""
    usual = MBConv(3, 6)
    ops = []
    for choice in space.choice_blocks:
        size = {op: macs([space.candidate_block(choice, op)]) for op in choice.candidates}
        ops.append(usual if usual in size else max(size, key=size.__getitem__))
    return Architecture(space, tuple(ops))


def hungriest_architecture(space: SearchSpace) -> Architecture:
    """In every block the candidate whose layers put out most values, which training keeps until
    its gradients are taken; of equals, the one of most MACs."""
    return Architecture(
        space,
        tuple(
            max(choice.candidates, key=lambda op: _hunger(space.candidate_block(choice, op)))
            for choice in space.choice_blocks
        ),
    )


def _hunger(block: Block) -> tuple[int, int]:
    return sum(layer.out_size**2 * layer.out_channels for layer in block.layers), macs([block])


def plain_step(
    architecture: Architecture, images: tf.Tensor, labels: tf.Tensor
) -> Callable[[int], Any]:
    """One training step of a plain network, compiled as one graph: (number of the step) -> its
    figures."""
    step = TrainStep(
        build_network(architecture),
        OptimizerConfig(weight_decay=DECAY, label_smoothing=SMOOTHING),
    )
    return lambda number: step(images, labels, learning_rate=RATE, step=number)
