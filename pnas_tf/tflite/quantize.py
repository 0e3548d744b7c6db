"""Quantisation-aware training, pruning and clustering of the derived network, by
tensorflow-model-optimization (TFMOT).

In the order that TFMOT's own combinations take: prune, then cluster without filling the zeros, then
train with quantisation ranges that keep both. Every step trains the network further and is
stripped; what comes out converts as it is. Knows no dataset: training images are passed in.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf import _tf_private
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.weight_files import check_layers, read_weight_file
from pnas_tf.run.progress import Progress, silent

# What TFMOT's 8-bit scheme takes. Multiply and Rescaling, of squeeze-and-excitation and h-swish,
# are not among it.
PLAIN_LAYERS = (
    keras.layers.InputLayer,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.Add,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Dense,
)
COMPRESSED_LAYERS = (
    keras.layers.Conv2D,
    keras.layers.Dense,
)  # depthwise kernels hold 3 % of the weights and the accuracy
MAX_CLUSTERS = 256
# Keras' and TFMOT's names of what a compressed network consists of, its initialisers among it.
_LAYERS_IN_FILES = frozenset(
    (
        *(layer.__name__ for layer in PLAIN_LAYERS),
        "Functional",
        "Ones",
        "Zeros",
        "Constant",
        "VarianceScaling",
        "GlorotUniform",
        "QuantizeLayer",
        "QuantizeWrapperV2",
        "QuantizeAwareActivation",
        "NoOpActivation",
        "AllValuesQuantizer",
        "LastValueQuantizer",
        "MovingAverageQuantizer",
        "NoOpQuantizeConfig",
        "Default8BitQuantizeConfig",
        "Default8BitOutputQuantizeConfig",
        "Default8BitConvQuantizeConfig",
        "Default8BitConvWeightsQuantizer",
        "Default8BitConvTransposeQuantizeConfig",
    )
)


@dataclass(frozen=True)
class Compression:
    """What is done to a trained network before export. prune: final fraction of zeros in
    convolutions and dense layers, 0 for none; cluster: number of distinct weights a layer, 0 for
    none; aware: quantisation-aware training."""

    prune: float = 0.0
    cluster: int = 0
    aware: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.prune < 1:
            raise UserError(
                "--prune",
                expected="a fraction of the weights, at least 0 and below 1",
                received=f"{self.prune}",
                fix="Choose e.g. 0.5.",
            )
        if self.cluster and not 2 <= self.cluster <= MAX_CLUSTERS:
            raise UserError(
                "--cluster",
                expected=f"2 to {MAX_CLUSTERS} weights a layer, or 0 for none",
                received=f"{self.cluster}",
                fix="Choose e.g. 32.",
            )

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps in their order."""
        return tuple(
            name
            for name, wanted in (
                ("prune", self.prune),
                ("cluster", self.cluster),
                ("qat", self.aware),
            )
            if wanted
        )


@dataclass(frozen=True)
class FineTuning:
    """How each step trains: SGD with momentum and cosine decay. data: epoch -> tf.data of (images,
    int labels), the last part of a batch dropped; batches: batches in one epoch."""

    data: Callable[[int], tf.data.Dataset]
    batches: int
    epochs: int
    learning_rate: float
    momentum: float
    label_smoothing: float


def train_on(
    model: keras.Model, tuning: FineTuning, *, progress: Callable[[str], None] | None = None
) -> keras.Model:
    """A copy of `model` trained further as a step of compression trains, and nothing else: what
    compression is compared with."""
    further = _copy(model)
    _train(further, tuning, [], "further training", progress)
    return further


def compress(
    model: keras.Model,
    compression: Compression,
    tuning: FineTuning,
    *,
    progress: Callable[[str], None] | None = None,
) -> keras.Model:
    """A compressed copy of `model`, which gives logits and stays as it is.

    Returns a plain network, or, when `compression.aware`, one whose layers carry quantisation
    ranges (convert it to int8; `plain_network` takes them off). progress: called with one line an
    epoch. Raises UserError when the network has layers that TFMOT does not take, naming the first.
    """
    check_plain(
        model, "quantisation-aware training" if compression.aware else "pruning and clustering"
    )
    work = _copy(model)
    for step in compression.steps:
        wrapped, callbacks = _WRAP[step](work, compression, tuning)
        _train(wrapped, tuning, callbacks, step, progress)
        stripped = _STRIP[step](wrapped)
        if step == "qat" and compression.cluster:
            restore_clusters(stripped, work)
        work = stripped
    # Stripping reuses layer objects, which then stand in two graphs; a copy stands in one.
    return work if compression.aware else _copy(work)


def check_plain(model: keras.Model, purpose: str) -> None:
    """Raises UserError when `model` holds a layer that TFMOT does not take, naming the first."""
    for layer in model.layers:
        if type(layer) not in PLAIN_LAYERS:
            gate = any(
                part in layer.name for part in ("gate", "squeeze", "excite", "hswish", "hsigmoid")
            )
            raise UserError(
                f"{purpose} does not take "
                + ("squeeze-and-excitation or h-swish" if gate else f"layer '{layer.name}'"),
                expected="convolutions, batch normalisation, ReLU, Add, padding, pooling, dropout "
                "and dense layers",
                received=f"layer '{layer.name}', a {type(layer).__name__}",
                fix="Export with --quantize=ptq, or search a space without squeeze-and-excitation.",
            )


def plain_network(aware: keras.Model, like: keras.Model) -> keras.Model:
    """The weights of a quantisation-aware network in a copy of the plain network `like` that it was
    made from."""
    twin = _copy(like)
    for layer in twin.layers:
        wrapper = next(
            (found for found in aware.layers if found.name in (f"quant_{layer.name}", layer.name)),
            None,
        )
        if not layer.weights:
            continue
        if wrapper is None:
            raise UserError(
                "quantisation-aware network",
                expected=f"a layer made from '{layer.name}'",
                received="none",
                fix="Give the network it was made from.",
            )
        # A wrapper holds the layer's variables beside the ranges.
        values = {_last(variable.name): variable.numpy() for variable in wrapper.weights}
        layer.set_weights([values[_last(variable.name)] for variable in layer.weights])
    return twin


def save_model(model: keras.Model, path: str | os.PathLike) -> Path:
    """Writes a network, quantisation-aware or not, as .h5 or (a path without suffix) SavedModel.

    Raises UserError on .keras, from which TFMOT's wrappers do not come back.
    """
    path = Path(path)
    if path.suffix not in (".h5", ""):
        raise UserError(
            f"compressed network {path}",
            expected="a name ending in .h5, or a folder name for SavedModel",
            received=path.suffix,
            fix="Quantisation-aware networks do not reload from .keras; write .h5.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp{path.suffix}")
    model.save(partial, save_format="h5" if path.suffix else "tf")
    if path.is_dir():
        import shutil

        shutil.rmtree(path)
    os.replace(partial, path)
    return path


def load_model(path: str | os.PathLike) -> keras.Model:
    """Reads the .h5 file that `save_model` wrote. Raises UserError when it is absent, damaged, or
    holds anything but plain layers and TFMOT's ranges. A SavedModel is a program and is not read:
    who trusts it has keras.models.load_model."""
    import h5py

    fix = "Make it again: pnas export --run_dir=..."
    if Path(path).suffix != ".h5":
        raise UserError(
            f"network {path} cannot be loaded",
            expected="a Keras .h5 file",
            received=f"'{Path(path).name}'",
            fix="Save it as .h5.",
        )
    content, _ = read_weight_file(path)
    with h5py.File(io.BytesIO(content), "r") as file:
        config = file.attrs.get("model_config", b"{}")
    if not isinstance(config, (str, bytes)):
        raise UserError(
            f"network {path} cannot be loaded",
            expected="its layers as JSON",
            received=type(config).__name__,
            fix=fix,
        )
    document = atomic.parse_json(
        config.encode("utf-8", "replace") if isinstance(config, str) else config,
        what="layers of",
        where=str(path),
        made_by="pnas export --run_dir=...",
    )
    check_layers(document, _LAYERS_IN_FILES, where=str(path))
    tfmot = _tfmot()
    with tempfile.TemporaryDirectory() as folder:  # what was checked is what is read
        checked = Path(folder) / "checked.h5"
        checked.write_bytes(content)
        try:
            with tfmot.quantization.keras.quantize_scope():
                return keras.models.load_model(checked, compile=False)
        except (
            Exception
        ) as error:  # Keras raises a dozen unrelated kinds on damaged files, and documents none
            raise UserError(
                f"network {path} cannot be loaded",
                expected="a Keras .h5 file of save_model",
                fix=fix,
                received=f"{type(error).__name__}: {str(error)[:300]}",
            ) from error


def sparsity(model: keras.Model) -> float:
    """The fraction of zeros among the weights that pruning governs."""
    kernels = _kernels(model)
    return float(
        sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels)
    )


def distinct_weights(model: keras.Model) -> int:
    """The largest number of distinct weights in any layer that clustering governs."""
    return max(len(np.unique(kernel)) for kernel in _kernels(model))


def _kernels(model: keras.Model) -> list[np.ndarray]:
    return [layer.kernel.numpy() for layer in model.layers if type(layer) in COMPRESSED_LAYERS]


def _prune(
    model: keras.Model, compression: Compression, tuning: FineTuning
) -> tuple[keras.Model, list]:
    sparsity_api = _tfmot().sparsity.keras
    steps = tuning.epochs * tuning.batches
    # Zhu & Gupta 2017: sparsity rises with a cubic; the last quarter trains at full sparsity, so
    # the network can recover. TFMOT prunes at multiples of `frequency`, and must prune at least
    # once at the end.
    end = max(steps * 3 // 4, 1)
    schedule = sparsity_api.PolynomialDecay(
        0.0, compression.prune, begin_step=0, end_step=end, frequency=max(1, min(end // 4, 100))
    )
    wrap = _wrapping(
        lambda layer: sparsity_api.prune_low_magnitude(layer, pruning_schedule=schedule)
    )
    return keras.models.clone_model(model, clone_function=wrap), [sparsity_api.UpdatePruningStep()]


def _cluster(
    model: keras.Model, compression: Compression, tuning: FineTuning
) -> tuple[keras.Model, list]:
    clustering = _tfmot().clustering.keras
    wrap = _wrapping(
        lambda layer: clustering.cluster_weights(
            layer,
            number_of_clusters=compression.cluster,
            preserve_sparsity=bool(compression.prune),
            cluster_centroids_init=clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
        )
    )
    return keras.models.clone_model(model, clone_function=wrap), []


def _aware(
    model: keras.Model, compression: Compression, tuning: FineTuning
) -> tuple[keras.Model, list]:
    tfmot = _tfmot()
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    combine = tfmot.experimental.combine
    if compression.cluster:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(
            preserve_sparsity=bool(compression.prune)
        )
    elif compression.prune:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        scheme = tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme()
    return tfmot.quantization.keras.quantize_apply(annotated, scheme), []


def _strip_aware(model: keras.Model) -> keras.Model:
    """Takes off what keeps clusters and leaves the ranges, which the converter reads."""
    clustered = any("cluster_centroids" in variable.name for variable in model.variables)
    return _tf_private.strip_cluster_preserving(model) if clustered else model


def restore_clusters(aware: keras.Model, clustered: keras.Model) -> None:
    """TFMOT 0.8.1 loses the clusters of some layers in quantisation-aware training. There each
    weight becomes the mean of those that shared a value before; zeros stay zeros."""
    for layer in clustered.layers:
        if type(layer) not in COMPRESSED_LAYERS:
            continue
        # A wrapped layer's attribute `kernel` is the quantised tensor; the variable stands among
        # its weights.
        kernel = next(
            variable
            for variable in aware.get_layer(f"quant_{layer.name}").weights
            if _last(variable.name) == "kernel:0"
        )
        values, member = np.unique(layer.kernel.numpy().ravel(), return_inverse=True)
        trained = kernel.numpy().ravel()
        if len(np.unique(trained)) > len(values):
            means = np.bincount(member, weights=trained) / np.bincount(member)
            means[values == 0] = 0
            kernel.assign(means[member].reshape(kernel.shape))


_WRAP: dict[str, Callable[[keras.Model, Compression, FineTuning], tuple[keras.Model, list]]] = {
    "prune": _prune,
    "cluster": _cluster,
    "qat": _aware,
}
_STRIP: dict[str, Callable[[keras.Model], keras.Model]] = {
    "prune": lambda model: _tfmot().sparsity.keras.strip_pruning(model),
    "cluster": lambda model: _tfmot().clustering.keras.strip_clustering(model),
    "qat": _strip_aware,
}


def _wrapping(wrap: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """For clone_model: wraps the layers that are compressed. The wrapper takes the trained layer,
    so weights come along."""

    def clone(layer: Any) -> Any:
        return wrap(layer) if type(layer) in COMPRESSED_LAYERS else layer

    return clone


def _train(
    model: keras.Model,
    tuning: FineTuning,
    callbacks: list,
    step: str,
    progress: Callable[[str], None] | None,
) -> None:
    rate = keras.optimizers.schedules.CosineDecay(
        tuning.learning_rate, tuning.epochs * tuning.batches
    )
    smoothing = tuning.label_smoothing

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        classes = logits.shape[-1]
        wanted = (
            tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), classes) * (1 - smoothing)
            + smoothing / classes
        )
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)

    model.compile(keras.optimizers.SGD(rate, momentum=tuning.momentum, nesterov=True), loss)
    pace = Progress(f"{step}, steps", tuning.epochs * tuning.batches, say=progress or silent)
    callbacks = [
        *callbacks,
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: pace.update()),
    ]
    for epoch in range(tuning.epochs):
        history = model.fit(tuning.data(epoch), epochs=1, verbose=0, callbacks=callbacks)
        mean_loss = history.history["loss"][0]
        if not np.isfinite(mean_loss):
            raise UserError(
                f"training of step '{step}'",
                expected="a finite loss",
                received=f"{mean_loss} in epoch {epoch + 1}",
                fix="Lower the learning rate of the fine-tuning.",
            )
        if progress:
            progress(f"{step}: epoch {epoch + 1} of {tuning.epochs}, loss {mean_loss:.4f}")


def _copy(model: keras.Model) -> keras.Model:
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _tfmot() -> Any:
    import tensorflow_model_optimization

    return tensorflow_model_optimization
