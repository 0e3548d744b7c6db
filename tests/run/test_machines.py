"""Machines as people have them: Macs, Windows, file systems without locks, terminals of any
encoding, no home folder. Linux is made to look like each (`tests/support/macos`)."""

import errno
import os
import pwd
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typed_commands import PNAS, ROOT, called

from pnas_tf.data.tfds import prepare_images
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.steps import closing

MODEL = ROOT / "tests/support/standin/tiny_float32.tflite"
MAC = ROOT / "tests/support/macos"


def benchmark(cwd, **environment):
    """`pnas benchmark` in a fresh interpreter, of as few rounds as give a figure."""
    program = "from pnas_tf.devices import schedule; schedule.ROUNDS_OF_FEW = (2, 0);" + PNAS[2]
    few = ["--min_invocations=1", "--warmup_invocations=0"]
    command = [*PNAS[:2], program, "benchmark", f"--models={MODEL}", "--run_dir=run", *few]
    return called(command, cwd=cwd, **environment)


@pytest.mark.slow
def test_every_module_can_be_imported_on_a_mac(tmp_path):
    program = (
        "import importlib, os, pkgutil, pnas_tf; assert not hasattr(os, 'sched_getaffinity');"
        "names = [m.name for m in pkgutil.walk_packages(pnas_tf.__path__, 'pnas_tf.')];"
        "[importlib.import_module(name) for name in names]; print('imported', len(names))"
    )
    ended = called([sys.executable, "-c", program], cwd=tmp_path, PYTHONPATH=str(MAC))
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split("imported")[1]) > 200


@pytest.mark.slow
def test_a_mac_measures_models_without_affinity_and_knows_itself(tmp_path):
    ended = benchmark(tmp_path, PYTHONPATH=str(MAC))
    assert ended.returncode == 0, ended.stderr
    told = (tmp_path / "run/latency.json").read_text()
    assert "Apple M2" in told and "Mac14,2" in told and "macOS 14.5" in told
    assert '"cores"' not in told


def test_a_mac_reads_files_of_others_without_a_limit_on_memory(tmp_path):
    ended = called([*PNAS, "inspect", MODEL], cwd=tmp_path, PYTHONPATH=str(MAC))
    assert ended.returncode == 0 and "CONV_2D" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    "start",
    [
        "from pnas_tf.cli.main import main; main()",
        "from pnas_tf.cli.main import run_tool; run_tool('tools/search.py')",
    ],
)
def test_windows_is_told_of_wsl_in_one_sentence(tmp_path, start):
    program = (
        f"import os, sys; import posixpath; sys.modules['fcntl'] = None; os.name = 'nt'; {start}"
    )
    ended = called([sys.executable, "-c", program], cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "WSL" in ended.stderr


def test_the_library_on_windows_says_so_too(tmp_path):
    program = "import sys; sys.modules['fcntl'] = None; import pnas_tf.io.locks"
    ended = called([sys.executable, "-c", program], cwd=tmp_path)
    assert ended.stderr.strip().splitlines()[-1].startswith("ImportError: pnas_tf runs on Linux")


@pytest.mark.slow
def test_a_file_system_without_locks_is_told_and_used(tmp_path):
    """The numbers that say so: tests/io/test_locks.py."""
    where = {"TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = benchmark(tmp_path, PYTHONPATH=str(MAC), PNAS_STANDIN_FLOCK="ENOSYS", **where)
    assert ended.returncode == 0 and (tmp_path / "run/latency.json").exists(), ended.stderr
    assert ended.stderr.count("two processes would not notice") == 1  # beside doubts of a busy hour


@pytest.mark.slow
def test_a_dataset_is_prepared_on_a_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def none(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)
    images = prepare_images("digits", data_dir=str(tmp_path), offline_files="")
    assert len(images.class_names) == 10


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8", "gb18030", "koi8-r"])
def test_what_a_terminal_cannot_show_is_replaced(tmp_path, encoding):
    program = (
        "import sys; from pnas_tf.run.process import open_standard_streams as o; o();"
        "[print('a\\u2013\\u4e2d\\udcff\\U0001f600z', file=s) for s in (sys.stdout, sys.stderr)]"
    )
    ended = called(
        [sys.executable, "-c", program], cwd=tmp_path, text=False, PYTHONIOENCODING=encoding
    )
    assert ended.returncode == 0, ended.stderr
    for told in (ended.stdout, ended.stderr):
        assert told.startswith(b"a") and told.endswith(b"z\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_program_of_the_user_in_a_terminal_of_little(tmp_path, encoding):
    """Whose streams are as Python opens them, strict."""
    program = (
        "from pnas_tf.run.terminal import TERMINAL, say\n"
        "with TERMINAL.speaking(): say('a' + ''.join(map(chr, (0x2013, 0x4e2d, 32, 0xdcff))) + 'z')"
    )
    command = [sys.executable, "-c", program]
    told = {"text": False, "PYTHONIOENCODING": encoding, "COLUMNS": "\u00b2"}
    ended = called(command, cwd=tmp_path, **told)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(b"a") and ended.stdout.endswith(b"?z\n")


def test_a_full_disk_behind_standard_output_is_told_as_that(tmp_path):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*PNAS, "inspect", str(MODEL)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode == 2 and "no room to write standard output" in ended.stderr
    assert "free in" not in ended.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["search", "--épochs=3"], ["sérch"]]
)
def test_programs_in_a_terminal_that_knows_ascii_alone(tmp_path, words):
    ended = called(
        [*PNAS, *words], cwd=tmp_path, text=False, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert ended.returncode == (0 if "--help" in words else 2), ended.stderr
    assert b"Traceback" not in ended.stderr


def test_the_report_is_written_before_the_table_is_printed(tmp_path, monkeypatch):
    from pnas_tf.report import manifest, node_data, page, summary, summary_table

    done = []
    (tmp_path / "summary.json").touch()
    monkeypatch.setattr(summary, "write_summary", lambda *_, **__: done.append("summary"))
    monkeypatch.setattr(page, "write_report", lambda _: done.append("report"))
    monkeypatch.setattr(manifest, "write_card", lambda _: done.append("card"))
    monkeypatch.setattr(node_data, "write_node_data", lambda *_: done.append("nodes"))
    monkeypatch.setattr(closing.Architecture, "load", lambda _: None)
    monkeypatch.setattr(summary_table, "text_table", lambda _, **__: done.append("table") or "–")
    call = type("Call", (), {"folder": closing.RunFolder(tmp_path), "targets": [None]})()
    call.configs = {closing.DataConfig: closing.DataConfig()}
    call.configs[closing.SearchConfig] = closing.SearchConfig()
    call.configs[closing.RunConfig] = closing.RunConfig(tensorboard=False)
    call.data = SimpleNamespace(facts=SimpleNamespace(files=None))
    closing.close_run(call)
    assert done == ["summary", "report", "card", "nodes", "table"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_sync_is_used_and_a_failed_one_is_told(
    tmp_path, monkeypatch, number
):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            atomic.write_bytes(tmp_path / "a", b"1")
        assert not list(tmp_path.iterdir())
    else:
        assert atomic.write_bytes(tmp_path / "a", b"1").read_bytes() == b"1"


@pytest.mark.slow
def test_a_home_that_cannot_be_written(tmp_path):
    """Not even by root."""
    ended = benchmark(tmp_path, HOME="/proc/nobody", without=("XDG_CACHE_HOME",))
    assert ended.returncode == 0 and (tmp_path / "run/latency.json").exists(), ended.stderr


@pytest.mark.parametrize("way", ["no home", "a file", "unwritable", "no user"])
def test_without_a_home_what_is_kept_lasts_as_long_as_the_process(
    tmp_path, monkeypatch, way, caplog
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(atomic, "_substitute", [])
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if way == "a file":
        monkeypatch.setenv("HOME", "/dev/null")
    if way == "unwritable":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")
    if way == "no user":

        def unknown(_):
            raise KeyError("uid not found")

        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", unknown)
    for _ in range(2):
        folder = atomic.user_cache_folder("models")
    assert "pnas-cache-" in str(folder) and not atomic.is_kept(folder)
    assert caplog.text.count("XDG_CACHE_HOME") == 1 and not list(tmp_path.iterdir())


def test_a_dataset_folder_that_cannot_be_made_names_the_option():
    for place in ("/proc/nobody", "~nobody-of-that-name/data"):
        with pytest.raises(UserError, match="cannot be kept") as refused:
            prepare_images("digits", data_dir=place, offline_files="")
        assert "--data_dir" in refused.value.fix and "network" not in str(refused.value)
