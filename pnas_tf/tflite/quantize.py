"""Quantisation-aware training, pruning and clustering of the derived network, by
tensorflow-model-optimization (TFMOT).

In the order that TFMOT's own combinations take: prune, then cluster without filling the zeros, then
train with quantisation ranges that keep both. Every step trains the network further and is
stripped; what comes out converts as it is. Knows no dataset: training images are passed in.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf import _tf_private
from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import FINETUNE_LEARNING_RATE, ExportConfig, OptimizerConfig
from pnas_tf.data.fitted_options import finetune_epochs
from pnas_tf.errors import UserError
from pnas_tf.networks.network import copied
from pnas_tf.run.progress import Progress, silent

# What TFMOT's 8-bit scheme takes; `aware` tells it of the products and shifts of gates.
PLAIN_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.Add,
    keras.layers.Multiply,
    keras.layers.Rescaling,
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Flatten,
    keras.layers.Dense,
)
# Depthwise kernels hold 3 % of the weights and the accuracy.
COMPRESSED_LAYERS = (keras.layers.Conv2D, keras.layers.Dense)
# By which ranges start; training moves them further.
RANGE_BATCHES = 10


@dataclass(frozen=True)
class FineTuning:
    """What a network is made into, and how each step trains: SGD with momentum and cosine decay.

    data: epoch -> tf.data of (images, int labels), the last part of a batch dropped. batches: in
    one epoch. config: prune, the final fraction of zeros in convolutions and dense layers; cluster,
    the number of distinct weights a layer; quantize, "qat" for quantisation-aware training; epochs
    and learning rate of each step.
    """

    data: Callable[[int], tf.data.Dataset]
    batches: int
    config: ExportConfig
    optimizer: OptimizerConfig

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that the config asks for, in their order."""
        config = self.config
        wanted = {"prune": config.prune, "cluster": config.cluster, "qat": config.quantize == "qat"}
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def train_steps(self) -> int:
        """Batches of one step of compression."""
        return self.epochs * self.batches

    @property
    def epochs(self) -> int:
        """Of one step of compression."""
        return finetune_epochs(self.config, steps=self.batches)

    @property
    def learning_rate(self) -> float:
        """Where the config has none, that of a usual batch: how large these are is not known."""
        given = self.config.finetune_learning_rate
        return FINETUNE_LEARNING_RATE if given is None else given


@dataclass(frozen=True)
class AwareNetwork:
    """A quantisation-aware network. aware: its layers carry ranges, by which it becomes int8.
    plain: the same weights in plain layers, for every other format."""

    aware: keras.Model
    plain: keras.Model


def train_on(
    model: keras.Model, tuning: FineTuning, *, progress: Callable[[str], None] | None = None
) -> keras.Model:
    """A copy of `model` trained further as a step of compression trains, and nothing else: what
    compression is compared with."""
    further = copied(model)
    _train(further, tuning, [], "further training", progress)
    return further


def compress(
    model: keras.Model, tuning: FineTuning, *, progress: Callable[[str], None] | None = None
) -> keras.Model | AwareNetwork:
    """A compressed copy of `model`, which gives logits and stays as it is.

    Args:
        model: a network of plain layers.
        tuning: what to do.
        progress: called with one line an epoch.

    Returns:
        A plain network; of quantisation-aware training an `AwareNetwork`.

    Raises:
        UserError: the network has layers that TFMOT does not take; it names the first.
    """
    is_aware = "qat" in tuning.steps
    check_plain(model, "quantisation-aware training" if is_aware else "pruning and clustering")
    work = copied(model)
    for step in tuning.steps:
        wrapped, callbacks = _WRAP[step](work, tuning)
        _train(wrapped, tuning, callbacks, step, progress)
        stripped = _STRIP[step](wrapped)
        stripped.trainable = True  # what rested in this step
        if step == "qat":
            return _restored(stripped, work, tuning)
        work = stripped
    # Stripping reuses layer objects, which then stand in two graphs; a copy stands in one.
    return copied(work)


def check_plain(model: keras.Model, purpose: str) -> None:
    """Raises UserError when `model` holds a layer that TFMOT does not take, naming the first."""
    for layer in model.layers:
        if type(layer) not in PLAIN_LAYERS:
            raise UserError(
                f"{purpose} does not take layer '{layer.name}'",
                expected="convolutions, batch normalisation, ReLU, sums and products of layers, "
                "rescaling, padding, pooling, dropout and dense layers",
                received=f"layer '{layer.name}', a {type(layer).__name__}",
                fix="Export with --quantize=ptq and without --prune and --cluster, or build the "
                "network of these layers.",
            )


# A model as TFMOT trains it, and the callbacks that this takes.
Wrapped = tuple[keras.Model, list[keras.callbacks.Callback]]


def _prune(model: keras.Model, tuning: FineTuning) -> Wrapped:
    sparsity_api = _tfmot().sparsity.keras
    # Zhu & Gupta 2017: sparsity rises with a cubic; the last quarter trains at full sparsity, so
    # the network can recover. TFMOT prunes at multiples of `frequency`, and must prune at least
    # once at the end.
    end = max(tuning.train_steps * 3 // 4, 1)
    schedule = sparsity_api.PolynomialDecay(
        0.0, tuning.config.prune, begin_step=0, end_step=end, frequency=max(1, min(end // 4, 100))
    )
    wrap = functools.partial(sparsity_api.prune_low_magnitude, pruning_schedule=schedule)
    return _wrapped(model, wrap), [sparsity_api.UpdatePruningStep()]


def _cluster(model: keras.Model, tuning: FineTuning) -> Wrapped:
    clustering, clusters = _tfmot().clustering.keras, tuning.config.cluster
    wrap = functools.partial(
        clustering.cluster_weights,
        number_of_clusters=clusters,
        preserve_sparsity=bool(tuning.config.prune),
        cluster_centroids_init=clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    )

    def wrap_large(layer: keras.layers.Layer) -> keras.layers.Layer:
        """TFMOT takes no layer of fewer weights than clusters, or of fewer that are not 0; such a
        one has no more values already, and rests."""
        kernel = layer.get_weights()[0]
        points = np.count_nonzero(kernel) if tuning.config.prune else kernel.size
        if points >= clusters:
            return wrap(layer)
        layer.trainable = False
        return layer

    return _wrapped(model, wrap_large), []


def _aware(model: keras.Model, tuning: FineTuning) -> Wrapped:
    from pnas_tf.tflite.aware import aware_network

    shown = itertools.islice(tuning.data(0), RANGE_BATCHES)
    return aware_network(model, tuning.config, (images.numpy() for images, _ in shown)), []


def _restored(aware: keras.Model, before: keras.Model, tuning: FineTuning) -> AwareNetwork:
    """What quantisation-aware training has made of `before`, its clusters with it."""
    from pnas_tf.tflite.aware import plain_network, restore_clusters

    if tuning.config.cluster:
        compressed = (layer for layer in before.layers if type(layer) in COMPRESSED_LAYERS)
        restore_clusters(aware, compressed)
    return AwareNetwork(aware, plain_network(aware, before))


def _strip_aware(model: keras.Model) -> keras.Model:
    """Takes off what keeps clusters and leaves the ranges, which the converter reads."""
    clustered = any("cluster_centroids" in variable.name for variable in model.variables)
    return _tf_private.strip_cluster_preserving(model) if clustered else model


_WRAP: dict[str, Callable[[keras.Model, FineTuning], Wrapped]] = {
    "prune": _prune,
    "cluster": _cluster,
    "qat": _aware,
}
_STRIP: dict[str, Callable[[keras.Model], keras.Model]] = {
    "prune": lambda model: _tfmot().sparsity.keras.strip_pruning(model),
    "cluster": lambda model: _tfmot().clustering.keras.strip_clustering(model),
    "qat": _strip_aware,
}


def _wrapped(
    model: keras.Model, wrap: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    """The model with wrappers around the layers that are compressed. A wrapper takes the trained
    layer, so weights come along."""
    return keras.models.clone_model(
        model,
        clone_function=lambda layer: wrap(layer) if type(layer) in COMPRESSED_LAYERS else layer,
    )


@deterministic_ops()
def _train(
    model: keras.Model,
    tuning: FineTuning,
    callbacks: list[keras.callbacks.Callback],
    step: str,
    progress: Callable[[str], None] | None,
) -> None:
    epochs, optimizer = tuning.epochs, tuning.optimizer
    schedules = keras.optimizers.schedules
    rate = schedules.CosineDecay(tuning.learning_rate, tuning.train_steps)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        wanted = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), logits.shape[-1])
        return keras.losses.categorical_crossentropy(
            wanted, logits, from_logits=True, label_smoothing=optimizer.label_smoothing
        )

    sgd = keras.optimizers.SGD(rate, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    model.compile(sgd, loss)
    pace = Progress(step, tuning.train_steps, say=progress or silent)
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pace.update())
    for epoch in range(epochs):
        trained = model.fit(tuning.data(epoch), epochs=1, verbose=0, callbacks=[*callbacks, count])
        mean_loss = trained.history["loss"][0]
        if not np.isfinite(mean_loss):
            raise UserError(
                f"training of step '{step}'",
                expected="a finite loss",
                received=f"{mean_loss} in epoch {epoch + 1}",
                fix="Lower the learning rate of the fine-tuning.",
            )
        if progress:
            progress(f"{step}: epoch {epoch + 1} of {epochs}, loss {mean_loss:.4f}")


def _tfmot() -> ModuleType:
    import tensorflow_model_optimization

    return tensorflow_model_optimization
