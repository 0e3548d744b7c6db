"""Initial weights of a plain network as a function of a seed. Trains nothing."""

from __future__ import annotations

import numpy as np
import tf_keras as keras


def seeded_weights(model: keras.Model, *, seed: int) -> list[np.ndarray]:
    """Initial weights drawn by the layers' own initializers from `seed` alone, in the order of
    `Model.get_weights`."""
    weights = []
    for number, variable in enumerate(model.weights):
        layer = model.get_layer(variable.name.rsplit("/", 1)[0])
        initializer = None
        if "kernel" in variable.name.rsplit("/", 1)[-1]:
            initializer = getattr(layer, "depthwise_initializer", None) or layer.kernel_initializer
        if initializer is None:
            weights.append(variable.numpy())  # ones and zeros of batch normalisation and biases
        else:
            words = np.random.SeedSequence([seed, number]).generate_state(1)
            own = type(initializer).from_config(
                {**initializer.get_config(), "seed": int(words[0]) & 0x7FFFFFFF}
            )
            weights.append(own(variable.shape, dtype=variable.dtype).numpy())
    return weights
