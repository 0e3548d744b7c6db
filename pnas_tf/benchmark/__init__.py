"""Measuring .tflite files on devices: the record, the schedule, and one runner per kind of device.
No TensorFlow."""
