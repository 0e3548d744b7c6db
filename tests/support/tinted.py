"""Folders of small photographs whose classes are colours."""

import numpy as np
from PIL import Image


def photographs(folder, tints):
    """20 pictures of 12 px a class. tints: class -> what is added to noise of 0 to 80."""
    generator = np.random.default_rng(0)
    for name, tint in tints.items():
        (folder / name).mkdir(parents=True)
        for index in range(20):
            pixels = generator.integers(0, 80, (12, 12, 3)) + np.array(tint)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
