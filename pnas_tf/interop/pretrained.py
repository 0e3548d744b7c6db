"""Opens weights to start from: ImageNet's out of installed packages, this project's files and run
folders, the upstream project's checkpoints.

No package that holds weights is imported, and of every file numbers alone are read, after another
process has read them. Knows nothing of what is made of the weights.
"""

from __future__ import annotations

from pathlib import Path

from pnas_tf.config import OptimizerConfig
from pnas_tf.data.augmentation import Normalization
from pnas_tf.errors import UserError
from pnas_tf.interop.checkpoint import load_upstream_weights
from pnas_tf.interop.imagenet import imagenet_class_names, imagenet_weights
from pnas_tf.interop.net_config import load_upstream
from pnas_tf.interop.pretrained_files import find_pretrained
from pnas_tf.io.serialization import value_of
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import (
    InputNormalisation,
    PretrainedBlock,
    PretrainedWeights,
    weights_of_network,
)
from pnas_tf.networks.weight_files import load_keras_weights
from pnas_tf.run import layout
from pnas_tf.run.checkpoints import Checkpoint, Checkpoints
from pnas_tf.run.settings import read_config
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.published import PUBLISHED
from pnas_tf.supernet.variables import checkpoint_entry, variables_of
from pnas_tf.training.result import read_result

# What the original project's checkpoints were trained with: ImageNet statistics, on pixels from 0
# to 255.
OFFICIAL_INPUT = InputNormalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def open_pretrained(source: str) -> PretrainedWeights:
    """Weights to start from.

    Args:
        source: one of `pretrained_files.FORMS`; "imagenet" is "efficientnet_lite0".

    Raises:
        UserError: there is no such source, a package or torch is missing, or a file is absent,
            damaged, or not what it should be.
    """
    found = find_pretrained(source)
    openers = {
        "package": lambda: imagenet_weights(found.network.name),
        "network": lambda: _of_network(found.weights, found.network),
        "supernet": lambda: _of_supernet(found.weights, found.network),
        "upstream": lambda: _of_upstream(found.weights, found.network),
    }
    return openers[found.kind]()


def _of_upstream(path: Path, config: Path) -> PretrainedWeights:
    network = load_upstream(config, resolution=PUBLISHED["proxyless_mobile"].resolution)
    architecture = network.architecture
    model = build_network(architecture)
    load_upstream_weights(model, path)
    is_imagenet = architecture.space.classes == len(imagenet_class_names())
    return weights_of_network(
        model,
        architecture,
        input=OFFICIAL_INPUT,
        bn_epsilon=network.bn_epsilon,
        class_names=imagenet_class_names() if is_imagenet else None,
        source=str(path),
    )


def _of_network(path: Path, place: Path) -> PretrainedWeights:
    """A Keras file, whose architecture.json is at `place`: in its run folder where it has one."""
    architecture = Architecture.load(place)
    model = build_network(architecture)
    load_keras_weights(model, path)
    normalization, class_names = _learnt_from(path.parent / layout.RESULT)
    return weights_of_network(
        model,
        architecture,
        input=normalization,
        bn_epsilon=epsilon_of(place.parent),
        class_names=class_names,
        source=str(path),
    )


def _of_supernet(folder: Path, place: Path) -> PretrainedWeights:
    """The newest whole checkpoint in `folder`, of the space of the architecture.json at `place`."""
    space, run = Architecture.load(place).space, place.parent
    checkpoint, where = Checkpoints(folder).latest(), f"the newest checkpoint in {folder}"
    if checkpoint is None:
        raise UserError(
            f"weights to start from in {folder}",
            expected="a whole checkpoint of a search",
            received="damaged ones alone",
            fix="Name another run folder.",
        )
    normalization = Normalization()
    return PretrainedWeights(
        space,
        {
            block.name: _of_checkpoint(checkpoint, block, block.name, where)
            for block in space.fixed_blocks()
        },
        tuple(
            tuple(
                _of_checkpoint(
                    checkpoint,
                    space.candidate_block(choice, op),
                    f"{choice.name}/{op.key}",
                    where,
                )
                for op in choice.candidates
            )
            for choice in space.choice_blocks
        ),
        InputNormalisation.of(normalization.mean, normalization.std),
        epsilon_of(run),
        None,
        f"the supernet of {run}",
    )


def _of_checkpoint(
    checkpoint: Checkpoint, block: Block, prefix: str, where: str
) -> PretrainedBlock:
    arrays = {
        spec.name: checkpoint.array(
            checkpoint_entry(f"{prefix}/{spec.name}"), shape=spec.shape, where=where
        )
        for spec in variables_of(block)
    }
    return PretrainedBlock(block, arrays)


def _learnt_from(result: Path) -> tuple[InputNormalisation, tuple[str, ...] | None]:
    """Normalisation and classes by the result.json of a training, where there is one."""
    usual = Normalization()
    if not result.is_file():
        return InputNormalisation.of(usual.mean, usual.std), None
    learnt = read_result(result)
    seen = learnt.normalization
    return InputNormalisation.of(seen.mean, seen.std), learnt.class_names


def epsilon_of(folder: Path) -> float:
    """Of batch normalisation by a run folder's settings, the usual one elsewhere."""
    section = read_config(folder).get(OptimizerConfig.__name__, {})
    epsilon = section.get("bn_epsilon", OptimizerConfig.bn_epsilon)
    return value_of(float, epsilon, what=f"bn_epsilon of {folder}", fix="Correct it.")
