"""What is behind the one door to TensorFlow's private machinery, by what can be seen of it."""

import pytest
import tensorflow as tf

from pnas_tf._tf_private import deterministic_ops, no_global_seed


@pytest.mark.parametrize("inner", [False, True])
def test_ops_are_deterministic_within_the_block_alone(inner):
    tf.random.set_seed(None)
    with deterministic_ops():
        if inner:
            with deterministic_ops():
                pass
        with pytest.raises(RuntimeError, match="seed"):
            tf.random.uniform([1])
    tf.random.uniform([1])
    with pytest.raises(ZeroDivisionError), deterministic_ops():
        raise ZeroDivisionError
    tf.random.uniform([1])


def test_the_global_seed_is_left_as_it_was():
    """With its draws: what is drawn behind the block is what would have been drawn without it."""
    tf.random.set_seed(3)
    wanted = [float(tf.random.uniform([])) for _ in range(2)]
    tf.random.set_seed(3)
    found = [float(tf.random.uniform([]))]
    with no_global_seed():
        shuffled = list(tf.data.Dataset.range(20).shuffle(20, seed=1).as_numpy_iterator())
        tf.random.set_seed(0)
    assert [*found, float(tf.random.uniform([]))] == wanted
    tf.random.set_seed(None)
    assert shuffled == list(tf.data.Dataset.range(20).shuffle(20, seed=1).as_numpy_iterator())
