"""The input pipeline alone, and the part of a search step that waits for it, on images read from
disk.

  python -m benchmarks.data_wait --json=data_wait.json

takes about a minute on 2 cores. Images: crops of the two photographs that scikit-learn ships,
written as JPEGs of 160 px in a folder a class, decoded, cropped and distorted anew in every epoch
(`--augmentation=imagenet`, nothing kept in memory).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import bar, main

RESOLUTION, BATCH, BATCHES, IMAGES, PIXELS = 96, 64, 14, 1600, 160
LIMIT = 0.05


def write_images(folder: Path) -> None:
    """IMAGES crops at random places of the photographs, a class for each photograph."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for name, photograph in zip(("china", "flower"), load_sample_images().images):
        (folder / name).mkdir()
        for number in range(IMAGES // 2):
            top, left = (int(generator.integers(0, size - PIXELS)) for size in photograph.shape[:2])
            Image.fromarray(photograph[top : top + PIXELS, left : left + PIXELS]).save(
                folder / name / f"{number:04d}.jpg", quality=90
            )


def run() -> dict[str, Any]:
    """Milliseconds a batch alone, a step, and the wait in it."""
    from benchmarks.workload import Workload
    from pnas_tf.config import DataConfig
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.space.mbconv import proxyless

    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name))
        config = DataConfig(dataset=f"folder:{name}", augmentation="imagenet", in_memory_mb=0)
        dataset = load_dataset(config, resolution=RESOLUTION)
        began, alone = time.perf_counter(), []
        for _ in dataset.train_batches(batch_size=BATCH, seed=0, epoch=0):
            alone.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
        work = Workload(proxyless(resolution=RESOLUTION), BATCH)
        paths = [work.sample("two_path", seed).active for seed in range(4)]
        for path in paths:
            work.weight_step(path)
        waits, steps = [], []
        batches = iter(dataset.train_batches(batch_size=BATCH, seed=0, epoch=1))
        for number in range(BATCHES):
            began = time.perf_counter()
            work.images, work.labels = next(batches)
            waited = time.perf_counter()
            work.weight_step(paths[number % len(paths)])
            waits.append(1000 * (waited - began))
            steps.append(1000 * (time.perf_counter() - began))
    # The first batches fill the pipeline, and are those of an epoch's start.
    share = sum(waits[2:]) / sum(steps[2:])
    return {
        "resolution": RESOLUTION,
        "batch": BATCH,
        "batch_alone_ms": statistics.median(alone[2:]),
        "step_ms": statistics.median(steps[2:]),
        "wait_ms": statistics.median(waits[2:]),
        "bars": [bar("share of a weight step spent waiting for images", share, LIMIT)],
    }


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
