"""ProxylessNAS for TensorFlow Lite (Cai, Zhu, Han, ICLR 2019).

Importing the package costs nothing: TensorFlow is loaded by the rooms that need it, when they need
it.
"""

import importlib
import os
from typing import Any

# tensorflow-model-optimization takes no Keras 3 model, so everything here runs on tf_keras. The
# switch must be set before anything imports TensorFlow, and this file is the first of ours that any
# program reads.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`pnas_tf.applications` after `import pnas_tf` alone, loaded when first asked for."""
    if name == "applications":
        return importlib.import_module("pnas_tf.applications")
    raise AttributeError(f"module 'pnas_tf' has no attribute {name!r}")
