"""Does a long search keep its memory? Resident memory over 2,000 weight steps and the architecture
steps between them.

  python -m benchmarks.search_memory --steps=2000

takes about 5 minutes on 2 cores (digits, space tiny, two_path, an architecture step after every
second weight step, a checkpoint every 200). Every candidate is compiled and every buffer taken
after the first quarter, so growth is that of the median of the last quarter over the median of the
second. Prints both and the size of what a search writes; exit status 1 when memory grows by more
than --max_growth_percent. --space=proxyless takes the ImageNet space at --resolution, on the same
images.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf.config import DataConfig, OptimizerConfig, SearchConfig
from pnas_tf.run.layout import EVENTS, HISTORY


def resident_mb() -> float:
    """Resident memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(space_name: str, *, resolution: int | None, steps: int, batch_size: int) -> dict:
    """Memory in MB by step, and the bytes of history.json and of TensorBoard's events at the
    end."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.search.loop import Search
    from pnas_tf.search.objective import SearchTargets
    from pnas_tf.search.quantities import macs_quantity
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.targets import Target
    from pnas_tf.space.registry import named_space
    from pnas_tf.supernet.numerics import Numerics
    from pnas_tf.supernet.supernet import Supernet

    space = named_space(space_name, classes=10, resolution=resolution)
    dataset = load_dataset(DataConfig(), resolution=space.resolution)
    epochs = -(-steps // dataset.steps_per_epoch("train", batch_size=batch_size))
    config = SearchConfig(
        warmup_epochs=1,
        search_epochs=max(1, epochs - 1),
        arch_start_epoch=0,
        search_batch_size=batch_size,
    )
    memory_mb: list[float] = []

    class Watched(Search):
        def train_weights(self, step: int, images: Any, labels: Any) -> None:
            super().train_weights(step, images, labels)
            memory_mb.append(resident_mb())

    with tempfile.TemporaryDirectory() as folder:
        Watched(
            Supernet(space, config, numerics=Numerics(), seed=0),
            dataset,
            SearchTargets((Target(macs_quantity(space), 1e6),), config),
            SearchRecipe(config, OptimizerConfig(), seed=0),
            folder=Path(folder),
        ).run()
        written = {
            "history_bytes": (Path(folder) / HISTORY).stat().st_size,
            "events_bytes": sum(path.stat().st_size for path in (Path(folder) / EVENTS).iterdir()),
        }
    quarter = len(memory_mb) // 4
    early, late = (
        statistics.median(memory_mb[quarter : 2 * quarter]),
        statistics.median(memory_mb[3 * quarter :]),
    )
    return {
        "space": space_name,
        "resolution": space.resolution,
        "steps": len(memory_mb),
        "batch_size": batch_size,
        "epochs": epochs,
        "second_quarter_mb": round(early, 1),
        "last_quarter_mb": round(late, 1),
        "growth_percent": round(100 * (late / early - 1), 2),
        "first_step_mb": round(memory_mb[0], 1),
        "largest_mb": round(max(memory_mb), 1),
        **written,
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--max_growth_percent", type=float, default=3.0)
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args()
    found = measure(
        options.space,
        resolution=options.resolution,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            "{space} at {resolution} px, batch {batch_size}, {steps} weight steps: median "
            "resident memory {second_quarter_mb} MB in the "
            "second quarter, {last_quarter_mb} MB in the last ({growth_percent:+.2f} %); "
            "history {history_bytes} bytes, "
            "events {events_bytes} bytes".format(**found)
        )
    return 1 if found["growth_percent"] > options.max_growth_percent else 0


if __name__ == "__main__":
    sys.exit(main())
