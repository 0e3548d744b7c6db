"""Labelled images.

Where they come from, their three splits, and augmentation. Knows nothing of networks.
"""

from pnas_tf.data.image_data import ImageData, from_arrays, from_folder, from_tf_data, from_tfds

__all__ = ["ImageData", "from_arrays", "from_folder", "from_tf_data", "from_tfds"]
