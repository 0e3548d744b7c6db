"""From a trained network to .tflite files.

Converted, rewritten for speed, quantised, labelled and proven equal.
"""
