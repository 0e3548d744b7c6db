"""Prints by how many MB an export raises the peak memory of its process.

    python tests/support/export_memory.py IMAGES

makes a folder with IMAGES test images, which a micro network sees at 224 pixels, read from their
files; all formats that people make by default.
"""

import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pnas_tf.config import DataConfig, ExportConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.export import export_network

SPACE = MBConvSpace("micro", 224, 2, 8, 8, (Stage(8, 1, 2),), 16, (MBConv(3, 3),))


def make_folder(root: Path, test_images: int) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", test_images)):
        for number in range(count):
            folder = root / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")


def peak_mb() -> float:
    """Linux counts in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    architecture = Architecture(SPACE, (MBConv(3, 3),))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        root = Path(folder) / "images"
        make_folder(root, int(sys.argv[1]))
        data = DataConfig(dataset=f"folder:{root}", in_memory_mb=0, augmentation="none")
        dataset = load_dataset(data, resolution=SPACE.resolution)
        model = build_network(architecture)
        before = peak_mb()
        config = ExportConfig(max_accuracy_drop=1.0, min_agreement=0.0)
        export_network(model, dataset, config, architecture=architecture)
        print(peak_mb() - before)


if __name__ == "__main__":
    main()
