"""From a trained Keras network to .tflite files: rewritten for speed, quantised, labelled and
proven equal."""
