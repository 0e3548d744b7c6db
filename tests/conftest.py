"""The order of the tests, files of slow ones first, and what several folders share.

Files are handed to the workers one by one (`--dist loadfile`), in this order
(`--no-loadscope-reorder`). A file of minutes that began last would leave the other worker idle.
"""

import os
import sys
import tempfile
from collections import Counter

import pytest

# Tests start programs by the hundred; where an environment forbids compiled modules, as those of
# containers do, each of them would compile ours anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """What tests leave among temporary files and in the user's cache, and the processes that they
    kill, goes with pytest's own folders. A short name: paths of sockets end after 108 bytes."""
    folder = str(tmp_path_factory.mktemp("t"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        cache = tmp_path_factory.getbasetemp() / "cache"
        if "PYTEST_XDIST_WORKER" in os.environ:  # all workers' one
            cache = cache.parent.parent / "cache"
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def few_rounds():
    """For tests that measure a few files and prove nothing of how well: 3 rounds, which are 24 to
    56 on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pnas_tf.devices.schedule.ROUNDS_OF_FEW", (3, 0))
        yield


def pytest_collection_modifyitems(items):
    """By the share of slow tests of a file; else as they were found."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    every = Counter(item.path for item in items)
    items.sort(key=lambda item: -slow[item.path] / every[item.path])
