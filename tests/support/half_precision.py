"""The batch and the tolerances by which half precision is held to float32, in the search and in
training."""

import numpy as np
import tensorflow as tf

# (of the loss, of all gradients together), relative. float16 has 11 bits, bfloat16 8; a network of
# 16 random images and batch statistics makes 100 times that of its gradients, in Keras' mixed
# precision as in ours.
TOLERANCES = {"float32": (1e-5, 1e-5), "float16": (1e-3, 0.15), "bfloat16": (5e-3, 0.6)}


def batch(number=0):
    """16 images of 8 pixels, of 4 classes."""
    generator = np.random.default_rng(number)
    labels = generator.integers(0, 4, 16)
    images = generator.standard_normal((16, 8, 8, 3)).astype(np.float32)
    images[..., 0] += labels[:, None, None]
    return tf.constant(images), tf.constant(labels, tf.int32)
