"""A child process that answers: how long its answer is waited for."""

import queue

import pytest

from pnas_tf.io.json_child import JsonChild

COMMAND = {"kind": "hdf5", "content_bytes": 0, "cpu_s": 9}  # one that it does not die of


@pytest.mark.parametrize(("stops", "answers"), [(1, True), (2, True), (3, False)])
def test_standing_still_takes_one_wait_of_many(stops, answers):
    """As a process that was stopped finds every clock at its end when it goes on. Of three waits of
    a second two may pass so."""
    child = JsonChild("pnas_tf.io.isolated_worker")

    class Late(queue.Queue):
        asked = 0

        def get(self, timeout):
            self.asked += 1
            if self.asked <= stops:
                raise queue.Empty
            return b'{"found": 1}\n'

    child._replies = Late()
    try:
        if answers:
            assert child.ask(COMMAND, timeout_s=3) == {"found": 1} and child.alive
        else:
            with pytest.raises(TimeoutError):
                child.ask(COMMAND, timeout_s=3)
            assert not child.alive
    finally:
        child.stop() if child.alive else None
