"""What the machine did to a program, told as the user's errors are: a full disk, a folder that may
not be written, a file that is gone.

Everything else stays what it is: an error of ours, with its traceback. Knows nothing of what the
program was doing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pnas_tf.errors import UserError, told_in

AGAIN = "then give the same command again: it goes on where it stopped."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED = (
    *(errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN),
    *((errno.EREMOTEIO,) if hasattr(errno, "EREMOTEIO") else ()),  # Linux alone has it
)
# numbers -> (what, expected, what to do first)
_TOLD = {
    _FULL: ("no room to write {}", "space on the disk", "Free space there"),
    (errno.EROFS, errno.EACCES, errno.EPERM): (
        "{} may not be written or read",
        "permission, on a disk that is not read-only",
        "Mend the permissions or how the disk is mounted",
    ),
    (errno.ENOENT, errno.ENOTDIR): (
        "{} is gone",
        "a file that stays while the program runs",
        "Bring it back",
    ),
    _FAILED: (
        "the disk failed at {}",
        "a disk that reads and writes",
        "Mend the disk or the connection to it",
    ),
    (errno.ENAMETOOLONG, errno.ELOOP): (
        "the file system does not take the name {}",
        "a name that is short enough, without links that lead in a circle",
        "Choose another",
    ),
    (errno.ENOMEM,): (
        "no memory is left",
        "memory for the images of one step, beside what other programs hold",
        "Take fewer images a step (--search_batch_size, --arch_batch_size, --rl_images; of the "
        "training --batch_size) in another --run_dir, or with --restart, which moves what was made "
        "with more to a folder old-N and begins that anew; or free memory",
    ),
    (errno.EMFILE, errno.ENFILE): (
        "no further file can be opened: {}",
        "fewer open files than the limit of the process or of the machine",
        "Raise the limit (ulimit -n 4096)",
    ),
    (errno.EAGAIN,): (
        "no process or thread can be started",
        "fewer of them than the limit of the user or of the machine",
        "End other programs, or raise the limit (ulimit -u)",
    ),
}
# What TensorFlow says where a card that it has listed cannot be started.
_CARD = re.compile(
    r"(?i)\bcuda_error|\bcuda(?! graph)\w* (?:runtime|driver|failed)|\bcuda\w+\(\)|cudnn_status|"
    r"dnn library (?:is not found|initialization failed)"
)
_WORDS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
    "No such file or directory": errno.ENOENT,
    "Input/output error": errno.EIO,
}


def told(error: Exception) -> UserError | None:
    """The user's error that stands for `error`, an OSError or one of TensorFlow's; None when it is
    a fault of the program."""
    if isinstance(error, ModuleNotFoundError):
        return _absent_package((error.name or "").partition(".")[0])
    if isinstance(error, OSError) and error.errno is not None:
        return _told(error.errno, error.strerror or str(error), error.filename)
    words = str(error)
    if isinstance(error, MemoryError) or (_is_tensorflows(error) and "OOM when" in words):
        return _told(errno.ENOMEM, words.partition("\n")[0][:300] or "out of memory", None)
    if isinstance(error, RuntimeError) and words == "can't start new thread":
        return _told(errno.EAGAIN, words, None)
    if _is_tensorflows(error) and _CARD.search(words):
        return _unusable_card(words.partition("\n")[0][:300])
    quoted = told_in(words) if _is_tensorflows(error) else None
    if quoted is not None:
        return quoted
    if isinstance(error, OSError) or _is_tensorflows(error):
        number = next((number for text, number in _WORDS.items() if text in words), None)
        # "/photos/cat/1.jpg; No such file or directory [[{{node ReadFile}}]]"
        place = re.match(r"(?:\{\{.*?\}\} )?(/[^;\n]*);", words)
        return (
            None
            if number is None
            else _told(number, words.splitlines()[0][:300], place[1] if place else None)
        )
    return None


@contextlib.contextmanager
def as_users() -> Iterator[None]:
    """Raises the user's error in the place of one of TensorFlow's that stands for it, as where a
    file breaks while it is streamed. Programs do so for all errors (`cli.program`); for callers in
    Python an OSError stays one. TensorFlow's logger tells errors alone meanwhile: networks of many
    shapes are traced here, of which it warns. Also a decorator."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        mishap = told(error) if _is_tensorflows(error) else None
        if mishap is None:
            raise
        raise mishap from error
    finally:
        logger.setLevel(before)


def _absent_package(name: str) -> UserError | None:
    """None for a module of ours, which is a fault of the program."""
    if name in ("", "pnas_tf"):
        return None
    return UserError(
        f"the Python package that has the module '{name}' is not installed",
        expected="what pnas_tf was installed with",
        received=f"no module '{name}' in {sys.prefix}",
        fix="Install pnas_tf again in this environment: python -m pip install --upgrade "
        "--force-reinstall, with the folder or the name that it came from; or activate the "
        "environment that has it.",
    )


def _unusable_card(words: str) -> UserError:
    return UserError(
        "the GPU cannot be used",
        expected="a card that TensorFlow can start, with free memory",
        received=words,
        fix="See with nvidia-smi who else holds it; TF_FORCE_GPU_ALLOW_GROWTH=true takes no more "
        f"than is needed, and CUDA_VISIBLE_DEVICES=-1 trains on the CPU; {AGAIN}",
    )


def _is_tensorflows(error: Exception) -> bool:
    tensorflow = sys.modules.get("tensorflow")  # only a program that has it can raise its errors
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _told(number: int, words: str, place: str | bytes | None) -> UserError | None:
    where = os.fsdecode(place) if isinstance(place, str | bytes) else "a file"
    for numbers, (what, expected, fix) in _TOLD.items():
        if number in numbers:
            free = _free(where) if numbers is _FULL else ""
            return UserError(
                what.format(where),
                expected=expected,
                received=f"{words}{free}",
                fix=f"{fix}, {AGAIN}",
            )
    return None


def _free(where: str) -> str:
    if os.sep not in where:  # a stream
        return ""
    for folder in Path(where).absolute().parents:
        if folder.is_dir():
            return f"; {shutil.disk_usage(folder).free / 1e6:.1f} MB free in {folder}"
    return ""
