"""Wilson's interval: its closed form, and what it says of few images."""

import math

import pytest

from pnas_tf.data.accuracy import accuracy_interval, accuracy_words

Z2 = 1.959963984540054**2  # of 95 %


@pytest.mark.parametrize("images", [1, 2, 7, 50, 272, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 0.9, 1.0])
def test_the_closed_form(images, share):
    """(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), Wilson 1927."""
    accuracy = round(share * images) / images
    middle = accuracy + Z2 / (2 * images)
    half = math.sqrt(Z2 * (accuracy * (1 - accuracy) / images + Z2 / (4 * images**2)))
    expected = [(middle + sign * half) / (1 + Z2 / images) for sign in (-1, 1)]
    assert accuracy_interval(accuracy, images) == pytest.approx(expected, abs=1e-9)


def test_in_words():
    assert accuracy_words(45 / 50, 50) == "90.00 % of 50 images (95 % interval 78.6 to 95.7 %)"
    assert accuracy_words(1.0, 50) == "100.00 % of 50 images (95 % interval 92.9 to 100.0 %)"
