"""Where fine-tuning begins, and at which part of the learning rate each variable moves. Trains
nothing.

Layers nearer the images hold what most pictures share, so they may move less (Howard and Ruder
2018, section 3.2); a new classifier may learn first, before its random gradients distort the
features (Kumar et al. 2022, section 4).
"""

from __future__ import annotations

import tf_keras as keras

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import OptimizerConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import batch_size, images_of
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.pretrained import InputNormalisation, PretrainedWeights
from pnas_tf.networks.takeover import CLASSIFIER, Takeover, network_from
from pnas_tf.space.architecture import Architecture
from pnas_tf.training.evaluate import reestimate_batch_norm


@deterministic_ops()
def start_from(
    weights: PretrainedWeights,
    architecture: Architecture,
    dataset: Dataset,
    optimizer: OptimizerConfig,
    *,
    seed: int,
) -> tuple[keras.Model, Takeover]:
    """The network that learns `dataset` from `weights`, as `network_from`; statistics of one that
    is another than theirs are estimated on the train split. The same seed gives the same to the
    bit, so that a training that was killed goes on from it.

    Raises UserError where they cannot become those of the architecture.
    """
    seen = dataset.normalization
    model, takeover = network_from(
        architecture,
        weights,
        class_names=dataset.class_names,
        input=InputNormalisation.of(seen.mean, seen.std, architecture.space.channels),
        normalisation=Normalisation.of(optimizer),
        seed=seed,
    )
    if takeover.remapped:
        size = batch_size(None, images_of(dataset).train)
        reestimate_batch_norm(model, dataset.train_unaugmented(batch_size=size))
    return model, takeover


def head_rates(model: keras.Model) -> tuple[float, ...]:
    """1 for the variables of the classifier, 0 for all others, in the order of
    `model.trainable_variables`."""
    return tuple(
        float(variable.name.startswith(f"{CLASSIFIER}/")) for variable in model.trainable_variables
    )


def block_rates(model: keras.Model, decay: float) -> tuple[float, ...] | None:
    """decay ^ (blocks between a variable's and the head), in that order; None where all are 1."""
    if decay == 1.0:
        return None
    blocks = [variable.name.partition("/")[0] for variable in model.trainable_variables]
    depths = {name: depth for depth, name in enumerate(dict.fromkeys(blocks))}
    return tuple(decay ** (len(depths) - 1 - depths[name]) for name in blocks)
