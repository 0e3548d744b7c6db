"""User errors: four parts in the message, and whole on the other side of a process."""

import pickle

import pytest

from pnas_tf.devices.failures import RunFailed
from pnas_tf.errors import UserError, number_of

ERROR = UserError("a table", expected="69 blocks", received="3 blocks", fix="Build it again.")


def test_message_has_four_parts():
    assert (
        str(ERROR)
        == "a table\n  expected: 69 blocks\n  received: 3 blocks\n  what to do: Build it again."
    )


def test_one_thing_is_no_plural():
    words = [number_of(count, what) for count in (1, 2) for what in ("epoch", "class", "box")]
    assert words == ["1 epoch", "1 class", "1 box", "2 epochs", "2 classes", "2 boxes"]


@pytest.mark.parametrize("error", [ERROR, RunFailed("a model", received="a crash")])
def test_crosses_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
