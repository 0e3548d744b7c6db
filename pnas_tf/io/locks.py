"""The one lock: the kernel's, on a file or a folder, held by one process at a time.

It ends with its process however that ends, so nothing is ever stale. Where a file system has no
locks (some network mounts) that is said once, and work goes on without. Knows nothing of what is
locked.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from types import TracebackType

from pnas_tf.errors import WINDOWS

try:
    import fcntl
except ImportError as error:
    raise ImportError(WINDOWS) from error

# ENOTSUP: macOS. EBADF: NFS, which locks only what is open for writing, and no folder is.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF)
_said: set[int] = set()  # devices of file systems without locks that were told of


class Lock:
    """A lock that this process holds until `release`, or as long as it has this object; also a
    context manager.

    Attributes:
        descriptor: of the locked file.
        exclusive: False where the file system has no locks: others may have it too.
    """

    def __init__(self, descriptor: int, *, exclusive: bool):
        self.descriptor = descriptor
        self.exclusive = exclusive

    def release(self) -> None:
        """Lets others have it; the file stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def name_holder(self) -> None:
        """Writes this process's number into the file, for `holder_of`."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def __del__(self) -> None:
        self.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def try_lock(path: str | os.PathLike, *, create: bool = True) -> Lock | None:
    """Locks a file, or with create=False also a folder, unless another process holds it.

    Args:
        path: the file; its content stays as it is.
        create: makes the file where there is none; else it must exist and be no link.

    Returns:
        The lock, or None where another one has it.

    Raises:
        OSError: the file cannot be opened.
    """
    return _locked(path, create, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_lock(path: str | os.PathLike) -> Lock:
    """As `try_lock`, once the process that holds it has let go."""
    lock = _locked(path, True, fcntl.LOCK_EX)
    assert lock is not None
    return lock


def holder_of(path: str | os.PathLike) -> str:
    """The number of the process that holds a lock whose file names it, or "unknown".

    For a moment it may be missing, or that of the holder before, who is dead: the next one is
    writing.
    """
    text = ""
    for _ in range(20):
        with open(path, "rb") as stream:
            text = stream.read(32).decode("ascii", "replace").strip()
        if text.isdigit() and _lives(int(text)):
            return text
        time.sleep(0.05)
    return text or "unknown"


def _locked(path: str | os.PathLike, create: bool, operation: int) -> Lock | None:
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY | os.O_NOFOLLOW
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            exclusive = _flock(descriptor, operation, path)
            if not create or _is_at(descriptor, path):
                return Lock(descriptor, exclusive=exclusive)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # removed by its holder between our opening and locking it


def _flock(descriptor: int, operation: int, path: str | os.PathLike) -> bool:
    """Whether the file system has locks. Raises BlockingIOError where another process has it."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _said:
            _said.add(device)
            logging.getLogger(__name__).warning(
                "%s is on a file system without locks (%s): two processes would not notice each "
                "other there, so start one at a time",
                os.fspath(path),
                error.strerror,
            )
        return False
    return True


def _is_at(descriptor: int, path: str | os.PathLike) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
