"""Nothing let in: whatever a stranger's file holds, it loads, or a UserError names file and place
(tests/support/hostile.py).

500 examples a loader with a fixed seed, so that CI is repeatable; `python -m
benchmarks.fuzz_loaders` looks further.
"""

import shutil
import tempfile
from pathlib import Path

import hostile
import pytest
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.slow

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
DOCUMENTS = {loader.name: loader for loader in hostile.document_loaders()}
BINARIES = (
    "tflite",
    "associated_files",
    "checkpoint",
    "keras_weights.h5",
    "keras_h5",
    "keras_keras",
    "pytorch",
    "images",
    "parity",
)


@pytest.fixture(scope="module")
def binaries():
    return {loader.name: loader for loader in hostile.binary_loaders()}


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(dir=MEMORY)
    yield path
    shutil.rmtree(path)


def hold(loader, folder):
    hostile.prepared(loader, folder)
    hostile.load_valid(loader, folder)
    loaded = []

    @settings(
        max_examples=loader.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile.DRAWS)
    def attempt(draw):
        file = hostile.made_of(loader, draw)
        loaded.append(hostile.attempt(loader, folder, file))
        (Path(folder) / file.file).write_bytes(
            dict(loader.seeds)[file.file]
        )  # the next example may be of another file

    attempt()
    assert len(loaded) >= loader.examples and 0.005 < sum(loaded) / len(loaded) < 0.98, (
        "hostile files that say nothing"
    )


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_documents(name, folder):
    hold(DOCUMENTS[name], folder)


@pytest.mark.parametrize("name", BINARIES)
def test_binaries(name, binaries, folder):
    hold(binaries[name], folder)


def test_every_loader_is_held(binaries):
    assert set(BINARIES) == set(binaries)
