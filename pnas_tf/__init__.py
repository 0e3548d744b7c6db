"""ProxylessNAS for TensorFlow Lite (Cai, Zhu, Han, ICLR 2019).

`pnas_tf.fit` does the whole way, from labelled images to a measured .tflite; `space`, `device`,
`measure_latency`, `search`, `train`, `export` and `benchmark` are its steps, `data` is where images
come from, `applications` the published networks in the manner of keras.applications.

Importing the package costs nothing: TensorFlow is loaded by the rooms that need it, when they need
it.
"""

import importlib
import os
from typing import TYPE_CHECKING

from pnas_tf import _tf_private

# tensorflow-model-optimization takes no Keras 3 model, so everything here runs on tf_keras. The
# switch must be set before anything imports TensorFlow, and this file is the first of ours that any
# program reads.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
_tf_private.load_quietly_when_needed()

__version__ = "0.2.0"

if TYPE_CHECKING:
    from pnas_tf import applications, data
    from pnas_tf.api import budget, export, quiet, search, space, train
    from pnas_tf.fitting import fit
    from pnas_tf.measuring import benchmark, calibrate, device, measure_latency

__all__ = [
    "applications",
    "benchmark",
    "budget",
    "calibrate",
    "data",
    "device",
    "export",
    "fit",
    "measure_latency",
    "quiet",
    "search",
    "space",
    "train",
]
_PACKAGES = ("applications", "data", "search", "space")  # the last two also are their functions
_MODULES = {
    "fit": "fitting",
    **dict.fromkeys(("benchmark", "calibrate", "device", "measure_latency"), "measuring"),
}  # all others are in api.py


def __getattr__(name: str) -> object:
    """What `__all__` names, loaded when first asked for."""
    if name in _PACKAGES:
        return importlib.import_module(f"pnas_tf.{name}")
    if name in __all__:
        return getattr(importlib.import_module(f"pnas_tf.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'pnas_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
