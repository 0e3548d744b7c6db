"""The mode of files that are written whole."""

import os
import stat
import subprocess
import sys

import pytest

from pnas_tf.io import atomic


def test_writing_never_sets_the_umask_of_the_process(tmp_path, monkeypatch):
    """It holds for all threads: what others create meanwhile would be open to everybody."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail(f"the umask was set to {mask:o}"))
    assert atomic.write_bytes(tmp_path / "a", b"1").read_bytes() == b"1"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_a_file_has_the_mode_of_any_new_file(tmp_path, umask):
    """In a process of its own, since the umask is the process's."""
    path = tmp_path / "a"
    program = (
        f"import os; os.umask({umask}); from pnas_tf.io import atomic; "
        f"atomic.write_bytes({str(path)!r}, b'1'); atomic.write_bytes({str(path)!r}, b'2')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["a"]
