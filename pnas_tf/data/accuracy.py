"""How sure an accuracy is that was counted on a number of images. Knows nothing of networks."""

from __future__ import annotations

from pnas_tf.errors import number_of

CONFIDENCE = 0.95


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Between which fractions the accuracy on any number of such images lies, with CONFIDENCE.

    Wilson's score interval (Wilson 1927), which holds for few images and for 0 and 1 as well.

    Args:
        accuracy: a fraction of `images`.
        images: at least one.
    """
    from scipy.stats import binomtest

    right = min(max(round(accuracy * images), 0), images)
    found = binomtest(right, images).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def accuracy_words(accuracy: float, images: int) -> str:
    """ "95.22 % of 272 images (95 % interval 92.0 to 97.2 %)"."""
    low, high = accuracy_interval(accuracy, images)
    interval = f"{CONFIDENCE:.0%} interval {100 * low:.1f} to {100 * high:.1f} %"
    return (
        f"{100 * accuracy:.2f} % of {number_of(images, 'image')} ({interval.replace('%', ' %', 1)})"
    )
