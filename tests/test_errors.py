"""User errors: four parts in the message, and whole on the other side of a process."""

import pickle

import pytest

from pnas_tf.devices.failures import RunFailed
from pnas_tf.errors import UserError

ERROR = UserError("a table", expected="69 blocks", received="3 blocks", fix="Build it again.")


def test_message_has_four_parts():
    assert (
        str(ERROR)
        == "a table\n  expected: 69 blocks\n  received: 3 blocks\n  what to do: Build it again."
    )


@pytest.mark.parametrize("error", [ERROR, RunFailed("a model", received="a crash")])
def test_crosses_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
