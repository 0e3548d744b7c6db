"""A large kernel is cut into the fewest pieces that have a fast depthwise kernel, covering each tap
once."""

import numpy as np
import pytest

from pnas_tf.tflite.rewrites.tiling import MAX_TAPS, tile


@pytest.mark.parametrize(
    "height, width", [(k, k) for k in range(1, 13)] + [(3, 11), (11, 3), (1, 31), (31, 31)]
)
def test_covers_every_tap_once_with_small_pieces(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for piece in tile(height, width):
        assert 1 <= (piece.bottom - piece.top) * (piece.right - piece.left) <= MAX_TAPS
        covered[piece.top : piece.bottom, piece.left : piece.right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("kernel, pieces", [(5, 1), (6, 2), (7, 3), (8, 3), (9, 4), (10, 4)])
def test_fewest_pieces(kernel: int, pieces: int) -> None:
    # The area bound ceil(k^2 / 25), which is met, but at 7: two rectangles that tile 7x7 share a
    # whole side, so one has 28 taps.
    assert pieces == (3 if kernel == 7 else -(-(kernel**2) // MAX_TAPS))
    assert len(tile(kernel, kernel)) == pieces
