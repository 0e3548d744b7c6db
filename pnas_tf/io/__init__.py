"""Bytes and files from anywhere.

Whole-or-absent writing, locks, records from JSON, and a child process that reads what others made.
"""

from pnas_tf.io.serialization import Json

__all__ = ["Json"]
