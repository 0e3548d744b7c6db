"""Keras layers and models, made from the rows of the walk. Knows the search space and nothing of
search or latency."""
