"""What stands in TensorBoard's event files, read back."""

from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event


def events_in(folder):
    """Tag -> its values in their order: numbers, or arrays of histograms [buckets, (left, right,
    count)], or images (bytes). HParams stand under their tag as their plugin's bytes."""
    found = {}
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            for value in Event.FromString(record).summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "hparams":
                    found.setdefault(value.tag, []).append(plugin.content)
                    continue
                array = tf.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append(float(array) if array.ndim == 0 else array)
    return found
