"""What can be searched: candidate ops, search spaces, architectures, and the walk that gives their
geometry.

Frozen data only; TensorFlow is imported nowhere in this room.
"""

from pnas_tf._callable_room import make_callable

make_callable(__name__)
