"""The official benchmark_model for a device: fetched once, kept in the user's cache, and checked by
its SHA-256 each time before it is used.

The makers replace these files every night and publish no digests. So what was fetched stays until
the user deletes it, and its digest stands in every measurement. Source: TensorFlow Lite's page
"Performance measurement", LiteRT's page "Benchmark CompiledModel API".
"""

from __future__ import annotations

import base64
import hashlib
import queue
import re
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from pnas_tf.devices.failures import MissingBinary
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of, to_json

TENSORFLOW = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/{system}_benchmark_model"
)
LITERT = "https://storage.googleapis.com/litert/binaries/latest/{system}/benchmark_model"
SILENCE_S = 8.0  # of the server, name resolution included
MAX_BYTES = 256 * 2**20  # today's have 5 to 30 MB
_CHUNK = 2**18
# What a device calls its instruction set -> (e_machine of ELF, TensorFlow's name of the build for
# it, LiteRT's). Android's builds on ARM; for x86-64 there is Linux's alone.
_ANDROID = {
    "arm64-v8a": (183, "android_aarch64", "android_arm64"),
    "aarch64": (183, "android_aarch64", "android_arm64"),
    "armeabi-v7a": (40, "android_arm", ""),
    "armv7l": (40, "android_arm", ""),
    "x86_64": (62, "linux_x86-64", "linux_x86_64"),
}
_LINUX = {
    "aarch64": (183, "linux_aarch64", "linux_arm64"),
    "armv7l": (40, "linux_arm", ""),
    "x86_64": (62, "linux_x86-64", "linux_x86_64"),
}
_fetching = threading.Lock()  # several devices may want one file


@dataclass(frozen=True)
class Build:
    """A file of the makers. machine: e_machine of ELF."""

    url: str
    machine: int


@dataclass(frozen=True)
class Fetched:
    """What stands beside a fetched file."""

    url: str
    sha256: str
    size_bytes: int
    fetched_unix_s: float


def build_for(instruction_set: str, *, delegate: str, android: bool) -> Build:
    """The build for a device: TensorFlow Lite's, and LiteRT's for an NPU.

    Args:
        instruction_set: ro.product.cpu.abi of a phone, else as `uname -m` names it.
        delegate: as --delegate.
        android: whether it is a phone.

    Raises:
        MissingBinary: the makers offer none.
    """
    known = _ANDROID if android else _LINUX
    machine, tensorflow, litert = known.get(instruction_set, (0, "", ""))
    system, form = (litert, LITERT) if delegate == "npu" else (tensorflow, TENSORFLOW)
    if not system:
        raise MissingBinary(
            f"there is no official benchmark_model for {instruction_set or 'this device'}"
            + (", with an NPU" if delegate == "npu" else ""),
            received=f"--benchmark_binary=auto; there are some for {', '.join(sorted(known))}",
            fix="Build it for this instruction set and give it: --benchmark_binary=PATH",
        )
    return Build(form.format(system=system), machine)


def official_binary(build: Build, *, say: Callable[[str], None]) -> Path:
    """The file in the user's cache, fetched where it is not there or not as it was fetched.

    Args:
        build: which.
        say: takes lines for the user.

    Raises:
        MissingBinary: it cannot be fetched; names the address and what to do, within 10 s where
            nobody answers.
    """
    folder = atomic.user_cache_folder("benchmark_model") / _name_of(build.url)
    with _fetching:
        record = _record_in(folder)
        if record is not None:
            path = folder / record.sha256
            if path.is_file() and atomic.sha256_of(path) == record.sha256:
                say(f"benchmark_model {record.sha256[:12]} of {build.url}, {_age(record)}")
                return path
            say(f"{path} is not as it was fetched: it is fetched again")
            path.unlink(missing_ok=True)
        content = _download(build)
        record = Fetched(build.url, hashlib.sha256(content).hexdigest(), len(content), time.time())
        folder.mkdir(parents=True, exist_ok=True)
        path = atomic.write_bytes(folder / record.sha256, content)
        atomic.write_json(folder / "fetched.json", to_json(record))
    say(f"benchmark_model {record.sha256[:12]} fetched, {len(content) / 1e6:.1f} MB, {build.url}")
    return path


def _record_in(folder: Path) -> Fetched | None:
    """None where nothing was fetched, or what says so is damaged."""
    path = folder / "fetched.json"
    if not path.is_file():
        return None
    try:
        document = atomic.read_json(path, what="record of a fetched file", made_by="fetch it again")
        record = record_of(Fetched, document, where=str(path), fix="Fetch it again.")
    except UserError:
        return None
    return record if re.fullmatch("[0-9a-f]{64}", record.sha256) else None


def _age(record: Fetched) -> str:
    return time.strftime("fetched on %Y-%m-%d", time.localtime(record.fetched_unix_s))


def _name_of(url: str) -> str:
    """A folder's name that tells which it is, and that no other address has."""
    last = re.sub("[^A-Za-z0-9.-]+", "_", "_".join(url.split("/")[-2:]))[-60:]
    return f"{last}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _download(build: Build) -> bytes:
    """The file, whole and for the right processor. Raises MissingBinary."""
    pieces: queue.Queue[bytes | str | None] = queue.Queue(maxsize=64)
    # A daemon: a name server that is silent holds nobody up.
    threading.Thread(target=_read_into, args=(build.url, pieces), daemon=True).start()
    content = bytearray()
    while True:
        try:
            piece = pieces.get(timeout=SILENCE_S)
        except queue.Empty:
            piece = f"no answer for {SILENCE_S:g} s"
        if isinstance(piece, str):
            raise _not_fetched(build, piece)
        if piece is None:
            break
        content += piece
    reason = _why_no_binary(bytes(content[:20]), build.machine)
    if reason:
        raise _not_fetched(build, reason)
    return bytes(content)


def _read_into(url: str, pieces: queue.Queue[bytes | str | None]) -> None:
    """Puts the file's bytes, then None; or why there are none, or no more."""
    digest, length = hashlib.md5(usedforsecurity=False), 0
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as answer:
            promised = answer.headers.get("Content-Length", "")
            while piece := answer.read1(_CHUNK):  # what has come: a slow line is not a silent one
                length += len(piece)
                if length > MAX_BYTES:
                    pieces.put(f"more than {MAX_BYTES} bytes")
                    return
                digest.update(piece)
                pieces.put(piece)
        told = re.search(r"md5=([A-Za-z0-9+/=]{24})", str(answer.headers.get_all("x-goog-hash")))
    except urllib.error.HTTPError as error:
        pieces.put(f"the server says {error.code} {error.reason}")
        return
    except (OSError, HTTPException, ValueError) as error:
        pieces.put(str(getattr(error, "reason", error))[:200] or type(error).__name__)
        return
    if promised.isdecimal() and int(promised) != length:
        pieces.put(f"cut after {length} of {promised} bytes")
    elif told and told.group(1) != base64.b64encode(digest.digest()).decode():
        pieces.put("damaged on the way: not the MD5 that the server tells")
    else:
        pieces.put(None)


def _why_no_binary(head: bytes, machine: int) -> str:
    """Empty for a program of this processor; a login page of a network is none."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return f"what came is no program: it begins with {head!r}"
    found = struct.unpack("<H", head[18:20])[0]
    return "" if found == machine else f"a program for ELF machine {found}, not {machine}"


def _not_fetched(build: Build, reason: str) -> MissingBinary:
    return MissingBinary(
        f"benchmark_model could not be fetched from {build.url}",
        received=reason,
        fix="Fetch it from there by other means and give the file: --benchmark_binary=PATH",
    )
