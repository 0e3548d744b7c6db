"""Every file name of a run. Knows nothing of what stands in the files.

Names are relative to the run folder, with "/" between; `tests/run/test_layout.py` refuses them as
literals anywhere else.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

# In the folder of a search or of a training, wherever it lies.
HISTORY = "history.json"
CHECKPOINTS = "checkpoints"
EVENTS = "events"  # TensorBoard's
EFFECTS = "effects.json"  # what each choice of a supernet without alpha is worth
MODEL = "model.keras"
RESULT = "result.json"
START = "pretrained.json"  # what a search, or a training by the API, starts from
ANSWERS = "answers.json"  # for the test split, by class
MEASURED = "measured"  # networks that a search had timed on the device
MEASURED_PATHS = "measured_paths.json"
MANIFEST = "manifest.json"  # of published models, in their own folder
OWN = "the run's own device"  # in the place of a table's file


def run_dir_option(path: object) -> str:
    """The option that names a run folder, as a shell takes it."""
    return shlex.quote(f"--run_dir={path}")


class Artifact(str, Enum):
    """A file or folder of a run; usable as a str."""

    CONFIG = "config.json"
    STEPS = "steps.json"
    LOCK = ".lock"
    LOG = "log.txt"
    LATENCY_TABLE = "latency_table.json"
    LATENCY_TABLE_INT8 = "latency_table_int8.json"
    FOOTPRINT = "footprint.json"
    FOOTPRINTS = "footprints"  # of specialisations, by what they were made from
    SPECIALISED = "specialised.json"
    SEARCH = "search"
    SEARCH_HISTORY = "search/history.json"
    SEARCH_START = "search/pretrained.json"
    EFFECTS = "search/effects.json"
    ARCHITECTURE = "architecture.json"
    DERIVATION = "derivation.json"
    SWEEP = "sweep.json"
    SWEEP_PLOT = "sweep.png"
    FRONT = "front.json"
    FRONT_PLOT = "front.png"
    TRAINING = "train"
    NETWORK = "train/model.keras"
    TRAINING_RESULT = "train/result.json"
    TRAINING_ANSWERS = "train/answers.json"
    TRAINING_HISTORY = "train/history.json"
    PARITY = "parity.json"
    BENCHMARK = "latency.json"
    SUSTAINED = "sustained.json"
    MEMORY = "memory.json"
    VALIDATION = "validation.json"
    VALIDATION_PLOT = "validation.png"
    SUMMARY = "summary.json"
    REPORT = "report.html"
    PLOTS = "plots"
    RUN_EVENTS = "events"  # of the run as a whole
    MODEL_CARD = "model_card.md"

    def __str__(self) -> str:
        return self.value


# The table of each number format that has one of its own, the one that decides last.
TABLES = {"int8": Artifact.LATENCY_TABLE_INT8, "float32": Artifact.LATENCY_TABLE}
MODELS_PATTERN = "model_*.tflite"


def model_name(dtype: str) -> str:
    """Under which an exported model is measured."""
    return f"model_{dtype}"


def model_file(dtype: str) -> str:
    """The exported model of a number format: float32, float16, dynamic_int8 or int8."""
    return f"{model_name(dtype)}.tflite"


def node_data_file(dtype: str) -> str:
    """What Model Explorer lays over `model_file`."""
    return f"{model_name(dtype)}_node_data.json"


def published_card(name: str) -> str:
    """The model card of published files, beside them."""
    return f"{name}_{Artifact.MODEL_CARD}"


def is_model_file(name: str) -> bool:
    """Whether `name` is one that `model_file` gives."""
    return re.fullmatch(r"model_[a-z0-9_]{1,40}\.tflite", name) is not None


def old_folder(folder: Path) -> Path:
    """The next one for results that --restart moves aside: RUN/old-1, RUN/old-2 and so on."""
    names = (folder / f"old-{number}" for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def sweep_events(budget_ms: float) -> str:
    """TensorBoard's folder of a budget of --sweep."""
    return f"sweep/{EVENTS}/{budget_ms:g}ms"


def sweep_architecture(budget_ms: float) -> str:
    """The architecture that --sweep derived for a budget in ms."""
    return f"sweep/architecture_{budget_ms:g}ms.json"


def files_of_devices(name: str, devices: Sequence[str]) -> dict[str, str]:
    """Device -> its file: `name` itself for a single device, NAME_DEVICE.json for each of
    several."""
    if len(devices) == 1:
        return {devices[0]: str(name)}
    stem, _, suffix = name.rpartition(".")
    return {
        device: f"{stem}_{re.sub('[^A-Za-z0-9.-]+', '_', device)}.{suffix}" for device in devices
    }
