"""What can be searched: candidate ops, search spaces, architectures, and the walk that gives their
geometry.

Frozen data only; TensorFlow is imported nowhere in this room.
"""
