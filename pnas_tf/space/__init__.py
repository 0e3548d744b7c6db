"""What can be searched: candidate ops, search spaces, architectures, and the blocks of which
their networks are made.

Frozen data only; TensorFlow is imported nowhere in this room.
"""

from pnas_tf._callable_room import make_callable

make_callable(__name__)
