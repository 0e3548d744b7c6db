"""One lock: one holder, nothing stale after a kill, content kept, file systems without locks."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys

import pytest

from pnas_tf.io import locks

HOLDER = """
import sys, time
from pnas_tf.io import locks
lock = locks.try_lock(sys.argv[1])
lock.name_holder()
print("held", flush=True)
time.sleep(600)
"""


def test_one_holder_at_a_time_and_the_content_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("kept")
    with locks.try_lock(path) as lock:
        assert lock.exclusive and locks.try_lock(path) is None
        assert locks.try_lock(path, create=False) is None
    with locks.wait_for_lock(path):
        assert path.read_text() == "kept"
    lock.release()  # twice is once


def test_a_killed_holder_leaves_no_lock_and_a_living_one_is_named(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert locks.try_lock(path) is None and locks.holder_of(path) == str(holder.pid)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locks.try_lock(path) as lock:
        lock.name_holder()
        assert locks.holder_of(path) == str(os.getpid())


def test_a_lock_that_nobody_keeps_is_let_go(tmp_path):
    """As of an object whose making failed after it had locked."""
    locks.try_lock(tmp_path / "lock")
    with locks.try_lock(tmp_path / "lock") as lock:
        assert lock is not None


def test_folders_but_no_links(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    with locks.try_lock(folder, create=False):
        assert locks.try_lock(folder, create=False) is None
    for missing in ("link", "absent"):
        with pytest.raises(OSError):
            locks.try_lock(tmp_path / missing, create=False)


def test_a_file_that_its_holder_removed_is_made_again(tmp_path, monkeypatch):
    path, flock, removed = tmp_path / "lock", fcntl.flock, []

    def slow(descriptor, operation):
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with locks.try_lock(path) as lock:
        assert os.fstat(lock.descriptor).st_nlink == 1 and path.exists()


@pytest.mark.parametrize("number", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EBADF"])
def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, caplog, number):
    def none(descriptor, operation):
        raise OSError(getattr(errno, number), "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(locks, "_said", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with locks.try_lock(tmp_path / "lock") as lock:
                assert not lock.exclusive
    assert len(caplog.records) == 1 and "without locks" in caplog.text
