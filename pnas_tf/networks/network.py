"""The plain Keras network of an architecture: what is trained, exported and measured. Never needs
the supernet.

A flat Functional graph; its variables stand in the order of its blocks, which is the order the
supernet holds them in.
"""

from __future__ import annotations

import re

import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation, apply_block, apply_merge
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import run_graph


def build_network(
    architecture: Architecture,
    *,
    dropout: float = 0.0,
    normalisation: Normalisation = Normalisation(),
    batch_size: int | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """The network of `architecture`.

    Args:
        architecture: what to build.
        dropout: rate before the classifier.
        normalisation: of every layer that is normalised.
        batch_size: None leaves the batch open.
        input_shape: another (height, width, channels) than the architecture's; sizes may be None.

    Returns:
        images [batch, resolution, resolution, channels] -> logits [batch, classes].
    """
    space = architecture.space
    shape = input_shape or (space.resolution, space.resolution, space.channels)
    images = keras.Input(shape, batch_size=batch_size, name="image")
    choices = space.choice_blocks

    def fixed(block: Block, x: tf.Tensor) -> tf.Tensor:
        return apply_block(x, block, normalisation=normalisation, dropout=dropout)

    def choice(index: int, x: tf.Tensor) -> tf.Tensor:
        return fixed(space.candidate_block(choices[index], architecture.ops[index]), x)

    logits = run_graph(space.topology, images, fixed=fixed, choice=choice, merge=apply_merge)
    return keras.Model(images, logits, name=_scope_name(space.name))


def _scope_name(name: str) -> str:
    """`name`, which may be a file's, as TensorFlow takes it for a scope: of ASCII letters, digits
    and a few signs, the first of them no underscore or hyphen."""
    plain = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return plain if re.match("[A-Za-z0-9.]", plain) else f"n{plain}"


def refuse_keras_3(model: object) -> None:
    """Raises UserError on a model of Keras 3, which looks like one of ours."""
    kind = type(model)
    if any(each.__module__.partition(".")[0] == "keras" for each in kind.__mro__):
        raise UserError(
            f"a model of the class {kind.__module__}.{kind.__name__}",
            expected="a model of tf_keras (Keras 2), as pnas_tf.train gives",
            received="one of Keras 3",
            fix="Build it with `import tf_keras as keras`, or set TF_USE_LEGACY_KERAS=1 before "
            "TensorFlow is imported.",
        )


def with_probabilities(model: keras.Model) -> keras.Model:
    """The network with a softmax behind its logits, sharing its weights: [batch, classes] that sum
    to 1, as clients show scores."""
    return keras.Model(
        model.input, keras.layers.Softmax(name="probability")(model.output), name=model.name
    )


def build_block_model(block: Block, *, batch_size: int | None = None) -> keras.Model:
    """One block alone, [batch, in_size, in_size, in_channels] in: what a latency table measures."""
    x = keras.Input(
        (block.in_size, block.in_size, block.in_channels), batch_size=batch_size, name="x"
    )
    return keras.Model(x, apply_block(x, block), name="block")


def weight_decay_variables(model: keras.Model, *, no_decay: str) -> list[tf.Variable]:
    """What weight decay acts on: kernels, and what no_decay leaves: "bn_bias" nothing more, "bn"
    biases, "none" all the rest."""
    kinds = {
        "bn_bias": ("kernel",),
        "bn": ("kernel", "bias"),
        "none": ("kernel", "bias", "gamma", "beta"),
    }[no_decay]
    return [
        variable
        for variable in model.trainable_variables
        if any(kind in variable.name.rsplit("/", 1)[-1] for kind in kinds)
    ]


def copied(model: keras.Model) -> keras.Model:
    """A network of the same layers and weights."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin
