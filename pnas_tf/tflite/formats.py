"""Number formats of exported files."""

from __future__ import annotations

DTYPES = ("float32", "float16", "dynamic_int8", "int8")
INT8_TYPES = ("int8", "uint8", "float32")  # of inputs and outputs of int8 files
