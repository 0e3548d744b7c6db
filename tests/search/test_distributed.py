"""Search on several replicas against one process with the same global batch: two devices, two
processes, a worker killed.

Activations are smooth (tests/support/kinks.py): at the kink of a ReLU6 the two orders of addition
have different gradients, and of 40 steps some activation lies there.

Every case runs in processes of its own, since a process chooses its devices once.
"""

import os
import signal
import socket
import time

import distributed_worker
import numpy as np
import pytest
from forked_program import SERVER

pytestmark = pytest.mark.slow

STEPS = 20
ALGORITHMS = ("two_path", "full", "reinforce")


def start(folder, *, index=None, ports=(), **options):
    """A process of the search; index and ports make it a worker of a cluster."""
    process = SERVER.Process(
        target=distributed_worker.work,
        args=(folder, {"index": index or 0, "ports": ports, **options}),
    )
    process.start()
    return process


def start_pair(folder, **options):
    ports = free_ports(2)
    return [
        start(
            folder,
            index=index,
            ports=ports,
            strategy="multi_worker",
            algorithms=("two_path",),
            **options,
        )
        for index in range(2)
    ]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ended(processes, folder):
    for process in processes:
        process.join(1200)
    statuses = [process.exitcode for process in processes]
    assert statuses == [0] * len(processes), "".join(
        path.read_text()[-3000:] for path in sorted(folder.glob("log-*"))
    )


def result(folder, index=0):
    """(losses of the steps, arrays of everything that was learnt) as one process saw them. folder:
    of one search, or of the training."""
    with np.load(folder / f"seen-{index}.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays.pop("losses"), arrays


def assert_close(ours, theirs, tolerance=5e-5):
    """Two orders of addition, over 40 steps and 10 of training: of 17 searches (five seeds, oneDNN
    with SSE4.1 and with AVX-512) at most 1.2e-5 apart."""
    np.testing.assert_allclose(ours[0], theirs[0], atol=tolerance, rtol=0)
    assert ours[1].keys() == theirs[1].keys()
    for name, value in theirs[1].items():
        np.testing.assert_allclose(
            ours[1][name], value, atol=tolerance, rtol=tolerance, err_msg=name
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of one process and of two devices, which search by every algorithm, and of two processes: all
    at the same time."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("single", "mirrored", "pair")}
    single = start(folders["single"], algorithms=ALGORITHMS, strategy="none")
    mirrored = start(folders["mirrored"], algorithms=ALGORITHMS, strategy="mirrored", replicas=2)
    processes = {"single": [single], "mirrored": [mirrored], "pair": start_pair(folders["pair"])}
    for name, each in processes.items():
        ended(each, folders[name])
    return folders


@pytest.fixture
def single(folders):
    return folders["single"]


@pytest.fixture
def mirrored(folders):
    return folders["mirrored"]


@pytest.fixture
def pair(folders):
    return folders["pair"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_devices_are_one_process_with_their_batches_together(single, mirrored, algorithm):
    losses, arrays = result(mirrored / algorithm)
    assert len(losses) == 2 * STEPS  # a weight step and an architecture step each
    firsts = {name: value for name, value in arrays.items() if not name.startswith("second/")}
    assert_close((losses, firsts), result(single / algorithm))
    copies = [name for name in arrays if name.startswith("second/")]
    assert copies
    for name in copies:
        np.testing.assert_array_equal(
            arrays[name], arrays[name.replace("second/", "variable/", 1)], err_msg=name
        )


def test_a_training_on_two_devices_is_one_process_with_their_batches_together(single, mirrored):
    assert_close(result(mirrored / "train"), result(single / "train"))


@pytest.mark.parametrize("part", ["two_path", "train"])
def test_two_processes_are_one_process_with_their_batches_together(single, pair, part):
    chief, other = result(pair / part, 0), result(pair / part, 1)
    assert_close(chief, result(single / part))
    for name, value in chief[1].items():
        np.testing.assert_array_equal(other[1][name], value, err_msg=name)
    assert not (pair / "two_path/checkpoints-1").exists()


def test_workers_that_are_killed_or_stopped_go_on_from_the_checkpoint_to_the_same_bits(
    pair, tmp_path
):
    """SIGKILL to one: the survivor ends with a status of its own. Then SIGTERM to one: all stop at
    one step. The same commands go on each time."""
    for number, statuses in ((signal.SIGKILL, [75, -9]), (signal.SIGTERM, [130, 130])):
        before = reached(tmp_path)
        processes = start_pair(tmp_path, pause_s=0.2, worker_timeout_s=15, trains=False)
        wait_for_a_checkpoint(processes, tmp_path, behind=before)
        os.kill(processes[1].pid, number)
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == statuses, (
            tmp_path / "log-0"
        ).read_text()[-3000:]
        assert before < reached(tmp_path) < STEPS
    ended(start_pair(tmp_path, trains=False), tmp_path)
    for name, value in result(pair / "two_path")[1].items():
        np.testing.assert_array_equal(result(tmp_path / "two_path")[1][name], value, err_msg=name)


def reached(folder):
    """The step of the newest checkpoint; 0 without one."""
    names = (path.stem for path in (folder / "two_path/checkpoints").glob("step-*.npz"))
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def wait_for_a_checkpoint(processes, folder, *, behind):
    deadline = time.monotonic() + 200
    while reached(folder) <= behind:
        assert all(process.is_alive() for process in processes), (folder / "log-0").read_text()[
            -3000:
        ]
        assert time.monotonic() < deadline
        time.sleep(0.05)
