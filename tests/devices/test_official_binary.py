"""The official benchmark_model: fetched from a real server, kept, checked, run; and refused, with
what to do, where it cannot be."""

import base64
import contextlib
import hashlib
import json
import platform
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import elf_program
import phones
import pytest
from local_shell import LocalShell

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool import official
from pnas_tf.devices.benchmark_tool.binary import find_binary
from pnas_tf.devices.benchmark_tool.official import Build, build_for, official_binary
from pnas_tf.devices.benchmark_tool.runner import Timeouts, ToolRunner
from pnas_tf.devices.connection import RemoteStore
from pnas_tf.devices.failures import MissingBinary
from pnas_tf.devices.record import Device
from pnas_tf.io import atomic

MODEL = Path(phones.HERE) / "tiny_float32.tflite"
RESULT = """INFO: count=1 curr=900
INFO: count=4 first=905 curr=900 min=890 max=910 avg=900.5 std=5 p5=890 median=901 p95=910
INFO: Inference timings in us: Init: 1, First inference: 9, Warmup (avg): 9, Inference (avg): 900.5
"""
PROGRAM = elf_program.program_that_prints(RESULT)


class Server:
    """Serves `content` with these headers. asked: paths, one for each request."""

    def __init__(self):
        self.content, self.headers, self.status, self.pause_s = PROGRAM, {}, 200, 0.0
        self.pieces, self.gap_s = 1, 0.0
        self.asked = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                time.sleep(server.pause_s)
                self.send_response(server.status)
                length = str(len(server.content))
                for name, value in {"Content-Length": length, **server.headers}.items():
                    self.send_header(name, value)
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.end_headers()
                    size = -(-len(server.content) // server.pieces)
                    for start in range(0, len(server.content), size):
                        time.sleep(server.gap_s * bool(start))
                        self.wfile.write(server.content[start : start + size])

            def log_message(self, *_):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/tools/benchmark_model"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened = Server()
    yield opened
    opened.http.shutdown()
    opened.http.server_close()


def fetched(server, lines=None, *, machine=62):
    return official_binary(
        Build(server.url, machine), say=(lines if lines is not None else []).append
    )


def test_what_was_fetched_is_kept_and_its_digest_told(server):
    lines = []
    path = fetched(server, lines)
    digest = hashlib.sha256(PROGRAM).hexdigest()
    assert path.read_bytes() == PROGRAM and path.name == digest
    server.content = PROGRAM + b"tonight's"  # the makers replace it every night
    assert fetched(server, lines) == path and len(server.asked) == 1
    assert all(digest[:12] in line and server.url in line for line in lines) and len(lines) == 2


def test_a_slow_line_is_not_a_silent_server(server, monkeypatch):
    """It takes longer than a silence may, with never a silence."""
    monkeypatch.setattr(official, "SILENCE_S", 1.5)
    server.pieces, server.gap_s = 5, 0.5
    assert fetched(server).read_bytes() == PROGRAM


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "record", "record_of_others"])
def test_a_kept_file_that_has_changed_is_fetched_again(server, damage):
    path = fetched(server)
    record = path.parent / "fetched.json"
    if damage == "changed":
        path.write_bytes(PROGRAM[:-1] + b"!")
    elif damage == "cut":
        path.write_bytes(PROGRAM[:50])
    elif damage == "gone":
        path.unlink()
    elif damage == "record":
        record.write_text("{")
    else:
        record.write_text(json.dumps({**json.loads(record.read_text()), "sha256": "../../x"}))
    again = fetched(server)
    assert again.read_bytes() == PROGRAM and len(server.asked) == 2
    path.write_bytes(b"")
    server.status = 404
    with pytest.raises(MissingBinary, match="404"):  # and never used as it is
        fetched(server)


WRONG = {
    "cut": {"headers": {"Content-Length": str(len(PROGRAM) + 5)}},
    "login_page": {"content": b"<html>Log in to this network"},
    "empty": {"content": b""},
    "other_processor": {"content": elf_program.program_that_prints(RESULT, machine=183)},
    "md5": {"headers": {"x-goog-hash": "md5=" + base64.b64encode(bytes(16)).decode()}},
    "not_there": {"status": 404},
    "refused": {"status": 403},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_whole_or_no_program_never_stays(server, tmp_path, case):
    for name, value in WRONG[case].items():
        setattr(server, name, value)
    with pytest.raises(MissingBinary) as refused:
        fetched(server)
    assert server.url in refused.value.what and "--benchmark_binary=PATH" in refused.value.fix
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_digest_that_the_server_tells_is_held_to(server):
    told = base64.b64encode(hashlib.md5(PROGRAM).digest()).decode()
    server.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={told}"}
    assert fetched(server).read_bytes() == PROGRAM


def test_a_server_that_is_silent_or_not_there_is_told_soon(server, monkeypatch):
    assert official.SILENCE_S < 10
    monkeypatch.setattr(official, "SILENCE_S", 0.3)
    server.pause_s = 2.0
    with pytest.raises(MissingBinary, match="could not be fetched") as refused:
        fetched(server)
    assert refused.value.received
    with pytest.raises(MissingBinary, match="from http://127"):
        official_binary(Build("http://127.0.0.1:9/x", 62), say=print)


@pytest.mark.parametrize(
    ("instruction_set", "android", "delegate", "end"),
    [
        ("arm64-v8a", True, "xnnpack", "lite/tools/nightly/latest/android_aarch64_benchmark_model"),
        ("armeabi-v7a", True, "gpu", "lite/tools/nightly/latest/android_arm_benchmark_model"),
        ("x86_64", True, "none", "lite/tools/nightly/latest/linux_x86-64_benchmark_model"),
        ("arm64-v8a", True, "npu", "litert/binaries/latest/android_arm64/benchmark_model"),
        ("aarch64", False, "xnnpack", "lite/tools/nightly/latest/linux_aarch64_benchmark_model"),
        ("armv7l", False, "xnnpack", "lite/tools/nightly/latest/linux_arm_benchmark_model"),
    ],
)
def test_the_build_is_that_of_the_instruction_set(instruction_set, android, delegate, end):
    build = build_for(instruction_set, delegate=delegate, android=android)
    assert build.url == f"https://storage.googleapis.com/{end}" or build.url.endswith(f"/{end}")
    assert build.url.startswith("https://storage.googleapis.com/")


@pytest.mark.parametrize(
    ("instruction_set", "delegate"),
    [("x86", "xnnpack"), ("riscv64", "xnnpack"), ("", "gpu"), ("armeabi-v7a", "npu")],
)
def test_where_there_is_no_build_the_message_says_what_to_give(instruction_set, delegate):
    with pytest.raises(MissingBinary, match="--benchmark_binary=PATH"):
        build_for(instruction_set, delegate=delegate, android=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is of x86-64")
def test_a_device_runs_what_was_fetched_and_its_digest_stands_in_the_measurement(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(official, "TENSORFLOW", server.url.replace("tools", "{system}"))
    options = {"delegate": "none", "android": True, "say": print}
    shell = LocalShell(tmp_path)
    binary = find_binary(shell, "auto", "x86_64", **options)
    assert server.asked == ["/linux_x86-64/benchmark_model"]
    assert find_binary(shell, "auto", "x86_64", **options) == binary and len(server.asked) == 1
    with ToolRunner(
        RemoteStore(shell, str(tmp_path / "far")),
        DeviceConfig(delegate="none"),
        binary=binary,
        prepare=lambda say: Device("android", "phone", "processor"),
        timeouts=Timeouts(attempts=1),
    ) as runner:
        run = runner.run(MODEL, warmups=1, invocations=4)
    assert run.samples_ns == (901_000.0,)
    digest = hashlib.sha256(PROGRAM).hexdigest()
    assert (
        runner.settings.binary_sha256 == digest and runner.settings.runtime_version == digest[:12]
    )
    assert atomic.sha256_of(tmp_path / "far" / digest) == digest
