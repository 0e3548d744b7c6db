"""What the machine does to a run: full disks, read-only folders, files that vanish. Each is told in
four parts with exit status 2, and the same command goes on when the cause is gone, to the same end
as if nothing had happened.

Disks are real: small tmpfs mounts, which take root; elsewhere those tests are skipped.
"""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from forked_program import (
    SPACE,
    Signal,
    assert_refused,
    contents,
    go_on,
    run,
    start,
    wait_until_paused,
)
from PIL import Image

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.os_errors import told
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.registry import save_space

SMALL = ["--warmup_epochs=1", "--search_epochs=2", "--arch_start_epoch=0"]


def mount(folder, *options):
    """Mounts or remounts a tmpfs; skips the test where that is not allowed."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A disk of its own: (folder, function that remounts it with other options)."""
    if not shutil.which("mount"):
        pytest.skip("no mount program")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=64k")
    yield folder, lambda *options: mount(folder, "remount", *options)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def table_of(space):
    """A table whose figures are made up: what is tested here is no latency."""
    entries = {
        key: Measurement(
            Device("host", "machine", "processor", (1,), "system", "build"),
            Settings("runtime", "1.0", "xnnpack", 1),
            ModelFacts("0" * 64, 1, "float32", (1, 8, 8, 3), ("split_depthwise",)),
            (ModelRun((1000.0 * number,) * 24),),
        )
        for number, key in enumerate(space.distinct_blocks(), start=1)
    }
    one = next(iter(entries.values()))
    return LatencyTable(
        Identity(one.device, one.settings, "float32", ("split_depthwise",)),
        entries,
        created_unix_s=0.0,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(folder with the table alone, flags of the data and of the space)"""
    folder = tmp_path_factory.mktemp("place")
    save_space(SPACE, folder / "small.json")
    table_of(SPACE).save(folder / "run/latency_table.json")
    return folder / "run", [f"--data_dir={folder / 'tfds'}"], [f"--space={folder / 'small.json'}"]


@pytest.fixture(scope="module")
def straight(place, tmp_path_factory):
    """A search and a training to which nothing happens."""
    table, data, space = place
    folder = tmp_path_factory.mktemp("straight") / "run"
    shutil.copytree(table, folder)
    for name, flags in (("search", [*SMALL, *data, *space]), ("train", ["--epochs=2", *data])):
        ended = run(name, f"--run_dir={folder}", *flags, cwd=folder.parent)
        assert ended.status == 0, ended.output
    return folder


def paused(flags, folder):
    """A search that pauses when it has written a checkpoint, with more to come."""
    sent = Signal(signal.SIGSTOP, files=str(folder / "run/search/checkpoints/step-*.npz"))
    return start("search", flags, log=folder / "log", cwd=folder, signalled=sent)


def same_end(folder, straight, *names):
    for name in names:
        assert (folder / name).read_bytes() == (straight / name).read_bytes(), name
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.root
@pytest.mark.slow
def test_a_full_disk_stops_search_and_training_which_then_go_on_to_the_same_end(
    place, straight, disk, tmp_path
):
    table, data, space = place
    folder, remount = disk
    size_kb = (table / "latency_table.json").stat().st_size // 1024 + 20
    remount(f"size={size_kb}k")
    shutil.copytree(table, folder / "run")
    full = run("search", f"--run_dir={folder / 'run'}", *SMALL, *data, *space, cwd=tmp_path)
    assert_refused(
        full, "no room to write", str(folder / "run"), "No space left on device", "Free space"
    )
    for path in folder.rglob("*.json"):
        atomic.read_json(path, what="document", made_by="")  # whole
    remount("size=8m")
    again = run("search", f"--run_dir={folder / 'run'}", cwd=tmp_path)
    assert again.status == 0, again.output
    same_end(folder / "run", straight, "search/history.json", "architecture.json")
    used_kb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1024
    remount(f"size={used_kb + 60}k")
    assert_refused(
        run("train", f"--run_dir={folder / 'run'}", "--epochs=2", *data, cwd=tmp_path),
        "no room to write",
        "Free space",
    )
    remount("size=8m")
    again = run("train", f"--run_dir={folder / 'run'}", cwd=tmp_path)
    assert again.status == 0, again.output
    same_end(folder / "run", straight, "train/history.json", "train/result.json")


@pytest.fixture
def frozen():
    """A function that makes a folder unwritable, even to root, or writable again."""

    def freeze(folder, sign="+"):
        done = subprocess.run(["chattr", f"{sign}i", str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no folder can be made immutable here: {done.stderr.strip()}")
        held.append(folder)

    held = []
    if not shutil.which("chattr"):
        pytest.skip("no chattr program")
    yield freeze
    for folder in held:
        subprocess.run(["chattr", "-i", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.slow
def test_a_folder_that_may_no_longer_be_written_stops_a_search_which_then_goes_on(
    place, straight, frozen, tmp_path
):
    table, data, space = place
    shutil.copytree(table, tmp_path / "run")
    flags = [f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=2", *SMALL, *data, *space]
    process = paused(flags, tmp_path)
    wait_until_paused(process, log=tmp_path / "log")
    frozen(tmp_path / "run/search/checkpoints")
    go_on(process)
    process.join(120)
    printed = (tmp_path / "log").read_text()
    assert (
        process.exitcode == 2
        and "may not be written" in printed
        and "what to do:" in printed
        and "Traceback" not in printed
    ), printed
    frozen(tmp_path / "run/search/checkpoints", "-")
    again = run("search", *flags, cwd=tmp_path)
    assert again.status == 0, again.output
    same_end(tmp_path / "run", straight, "search/history.json", "architecture.json")


@pytest.mark.root
def test_a_read_only_run_folder_is_refused_root_or_not(disk):
    folder, remount = disk
    with RunFolder(folder / "run") as held:
        held.step("one", inputs={}, outputs=[], work=lambda: None)
    before = contents(folder)
    remount("ro")
    for name in ("run", "new"):
        with pytest.raises(UserError, match="cannot be used") as error, RunFolder(folder / name):
            pass
        assert "Read-only" in error.value.received and contents(folder) == before
    remount("rw")
    with RunFolder(folder / "run") as held:
        assert not held.step("one", inputs={}, outputs=[], work=lambda: None)


@pytest.mark.root
def test_a_write_to_a_full_disk_leaves_the_file_as_it_was_and_names_it(disk):
    folder, _ = disk
    atomic.write_bytes(folder / "a", b"before")
    with pytest.raises(OSError, match="No space") as error:
        atomic.write_bytes(folder / "a", bytes(100_000))
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(folder / "a")
    assert contents(folder) == {"a": b"before"}


@pytest.mark.slow
def test_images_that_vanish_while_they_are_read(place, tmp_path):
    """A folder read from disk each epoch: one class goes while the search runs, and comes back."""
    _, _, space = place
    generator = np.random.default_rng(0)
    for name in ("bright", "dark"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(60):
            Image.fromarray(generator.integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(
                tmp_path / "images" / name / f"{index}.png"
            )
    table_of(dataclasses.replace(SPACE, classes=2)).save(tmp_path / "run/latency_table.json")
    flags = [
        f"--run_dir={tmp_path / 'run'}",
        f"--dataset=folder:{tmp_path / 'images'}",
        "--in_memory_mb=0",
        "--search_batch_size=4",
        "--checkpoint_steps=2",
        *SMALL,
        *space,
    ]
    process = paused(flags, tmp_path)
    wait_until_paused(process, log=tmp_path / "log")
    (tmp_path / "images").rename(tmp_path / "away")
    go_on(process)
    process.join(120)
    printed = (tmp_path / "log").read_text()
    assert (
        process.exitcode == 2
        and "is gone" in printed
        and str(tmp_path / "images") in printed
        and "Traceback" not in printed
    ), printed
    step = Checkpoints(tmp_path / "run/search/checkpoints").latest().step
    assert_refused(run("search", flags[0], cwd=tmp_path), str(tmp_path / "images"))
    (tmp_path / "away").rename(tmp_path / "images")
    again = run("search", flags[0], cwd=tmp_path)
    assert again.status == 0 and step > 0, again.output
    assert Architecture.load(tmp_path / "run/architecture.json").space.classes == 2


@pytest.mark.slow
def test_a_table_that_vanishes_in_the_middle_is_not_recorded_as_if_it_were_there(
    place, straight, tmp_path
):
    table, data, space = place
    shutil.copytree(table, tmp_path / "run")
    flags = [f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=2", *SMALL, *data, *space]
    process = paused(flags, tmp_path)
    wait_until_paused(process, log=tmp_path / "log")
    (tmp_path / "run/latency_table.json").unlink()
    go_on(process)
    process.join(120)
    printed = (tmp_path / "log").read_text()
    assert (
        process.exitcode == 2
        and "latency_table.json is gone" in printed
        and "Traceback" not in printed
    ), printed
    shutil.copy(table / "latency_table.json", tmp_path / "run")
    again = run("search", f"--run_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert again.status == 0 and "search: complete, skipped" in again.output, again.output
    same_end(tmp_path / "run", straight, "search/history.json", "architecture.json")


def test_what_is_told_and_what_stays_an_error_of_ours(tmp_path):
    import tensorflow as tf

    place = str(tmp_path / "file")
    for number, words in (
        (errno.ENOSPC, "no room"),
        (errno.EDQUOT, "no room"),
        (errno.EROFS, "may not be written"),
        (errno.EACCES, "may not be"),
        (errno.ENOENT, "is gone"),
        (errno.EIO, "disk failed"),
        (errno.ENAMETOOLONG, "does not take the name"),
        (errno.EMFILE, "no further file can be opened"),
    ):
        error = told(OSError(number, os.strerror(number), place))
        assert words in error.what and place in error.what and os.strerror(number) in error.received
    missing = told(
        tf.errors.NotFoundError(
            None, None, f"{place}; No such file or directory\n\t [[{{{{node ReadFile}}}}]]"
        )
    )
    assert missing.what == f"{place} is gone"
    full = told(tf.errors.ResourceExhaustedError(None, None, f"{place}; No space left on device"))
    assert full.what == f"no room to write {place}"
    memory = "OOM when allocating tensor with shape[256,224,224,96] and type float"
    for many, words in (
        (MemoryError(), "no memory is left"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory is left"),
        (tf.errors.ResourceExhaustedError(None, None, memory), "no memory is left"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no process or thread"),
        (RuntimeError("can't start new thread"), "no process or thread"),
    ):
        assert words in told(many).what
    # Batches are fixed options: the same folder takes others with --restart alone.
    assert "--arch_batch_size" in told(MemoryError()).fix
    assert "--restart" in told(MemoryError()).fix
    for card in (  # as TensorFlow 2.21 words them
        "cudaSetDevice() on GPU:0 failed. Status: out of memory",
        "CUDA runtime implicit initialization on GPU:0 failed. Status: all CUDA-capable devices "
        "are busy or unavailable",
        "DNN library initialization failed. Look at the errors above for more details.",
        "failed to create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
    ):
        error = told(tf.errors.InternalError(None, None, f"{card}\n\t [[node]]"))
        assert error.what == "the GPU cannot be used" and error.received == card
    for ours in (
        ValueError("No space left on device"),
        RuntimeError("CUDA_ERROR_NO_DEVICE"),
        KeyError("x"),
        OSError(errno.EBADF, "Bad file descriptor"),
        tf.errors.InvalidArgumentError(None, None, "shapes"),
        tf.errors.NotFoundError(None, None, "no op named x"),
    ):
        assert told(ours) is None


def test_a_sweep_takes_what_nobody_writes_and_leaves_what_a_living_process_does(tmp_path):
    held = locks.wait_for_lock(tmp_path / ".held.abc.tmp")
    (tmp_path / ".left.abc.tmp").write_text("half")
    (tmp_path / ".scratch.tmp").mkdir()
    atomic.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".held.abc.tmp", ".scratch.tmp"]
    held.release()
    atomic.sweep(tmp_path, deep=True)
    assert not list(tmp_path.iterdir())


def test_a_writer_whose_temporary_file_is_swept_before_it_is_locked_takes_another(
    tmp_path, monkeypatch
):
    import fcntl

    swept = []
    lock = fcntl.flock

    def sweeping(descriptor, operation):
        if not swept:
            swept.append(next(tmp_path.iterdir()))
            swept[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweeping)
    atomic.write_bytes(tmp_path / "a", b"content")
    assert swept and contents(tmp_path) == {"a": b"content"}


@pytest.mark.parametrize("text", ["", "1\n", "own", "99999999\n", "x"])
def test_a_lock_file_that_nobody_holds_refuses_nobody(tmp_path, text):
    """A killed run's, even when its pid has gone to another living process since."""
    (tmp_path / ".lock").write_text(f"{os.getpid()}\n" if text == "own" else text)
    with RunFolder(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_the_pid_told_is_the_holders_even_in_the_moment_before_it_is_written(tmp_path):
    import fcntl
    import threading

    dead = subprocess.Popen(["true"])
    dead.wait()
    path = tmp_path / ".lock"
    path.write_text(f"{dead.pid}\n")  # the holder before, killed
    with open(path, "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: path.write_text(f"{os.getpid()}\n")).start()
        with pytest.raises(UserError) as error, RunFolder(tmp_path):
            pass
    assert error.value.received == f"held by pid {os.getpid()}"


def test_a_lock_file_removed_between_opening_and_locking_is_not_the_lock(tmp_path, monkeypatch):
    """A call that is refused removes it; whoever waited for it must not hold a file that no other
    process will ever open."""
    import fcntl

    lock, removed = fcntl.flock, []

    def removing(descriptor, operation):
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removing)
    with RunFolder(tmp_path) as folder:
        assert os.path.samestat(os.fstat(folder._lock.descriptor), os.stat(tmp_path / ".lock"))
    with contextlib.suppress(FileNotFoundError):
        assert not (tmp_path / ".lock").exists()
