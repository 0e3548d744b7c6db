"""`cifar`: a space for images of 32 pixels that offers plain and fused convolutions beside MBConvs.

At few channels a processor runs a plain convolution as fast as the depthwise one with a tenth of
its MACs; which of them pays where is for the latency table to say. Knows nothing of layers.
"""

from __future__ import annotations

from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import UIB, BasicBlock, FusedMBConv, MBConv

SMALL_IMAGE_OPS = (
    MBConv(3, 3),
    MBConv(3, 6),
    MBConv(5, 3),
    MBConv(5, 6),
    FusedMBConv(3, 1),
    FusedMBConv(3, 2),
    FusedMBConv(3, 4),
    BasicBlock(3),
    UIB(3, 0, 4),
    UIB(3, 3, 4),
    UIB(0, 0, 2),
)


def cifar(*, resolution: int = 32, classes: int = 10, width: float = 1.0) -> MBConvSpace:
    """Eight choice blocks at 32, 16, 8 and 4 pixels, of up to 12 candidates each.

    Most of the room is where images are small: a block there takes as long as one of as many MACs
    at 32 pixels, and holds 64 times the weights (docs/spaces.md has what each op takes).
    """
    stages = (Stage(16, 1, 1), Stage(32, 2, 2), Stage(64, 3, 2), Stage(128, 2, 2))
    return MBConvSpace(
        "cifar",
        resolution,
        classes,
        stem_width=16,
        first_width=0,
        stages=stages,
        head_width=128,
        candidates=SMALL_IMAGE_OPS,
        stem_stride=1,
    ).with_width(width)
