"""What is behind the one door to TensorFlow's private machinery, by what can be seen of it."""

import pytest
import tensorflow as tf

from pnas_tf._tf_private import deterministic_ops


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
