"""Checkpoints: round trip, atomicity, falling back over torn files, and nothing left lying
about."""

import os
import zipfile

import numpy as np
import pytest

from pnas_tf.io import atomic
from pnas_tf.run.checkpoints import Checkpoints

ARRAYS = {
    "variable/block 0/kernel:0": np.arange(12, dtype=np.float32).reshape(3, 4),
    "file": np.float64(0.1),
    "empty": np.zeros((0, 2)),
    "counter": np.array(7, np.int64),
}
STATE = {"step": 3, "history": [{"loss": 0.1 + 0.2}], "none": None}


def test_round_trip_to_the_bit_and_plain_numpy_reads_it(tmp_path):
    path = Checkpoints(tmp_path).save(3, ARRAYS, STATE)
    checkpoint = Checkpoints(tmp_path).latest()
    assert (
        checkpoint.step == 3 and checkpoint.state == STATE and set(checkpoint.arrays) == set(ARRAYS)
    )
    for name, array in ARRAYS.items():
        assert checkpoint.arrays[name].dtype == np.asarray(array).dtype and np.array_equal(
            checkpoint.arrays[name], array
        )
        assert checkpoint.arrays[name].shape == np.shape(array)
    with np.load(path, allow_pickle=False) as archive:
        assert np.array_equal(
            archive["variable/block 0/kernel:0"], ARRAYS["variable/block 0/kernel:0"]
        )


def test_the_newest_are_kept(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10, 9):
        store.save(step, ARRAYS, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-0000000009.npz",
        "step-0000000010.npz",
    ]
    assert store.latest().step == 10


def test_checkpoints_of_stops_go_at_the_end_of_the_epoch_and_push_none_out(tmp_path):
    store = Checkpoints(tmp_path, keep=2, passing=lambda step: step % 10 != 0)

    def steps():
        return sorted(int(path.stem[5:]) for path in tmp_path.iterdir())

    for step, expected in (
        (1, [1]),
        (4, [1, 4]),
        (10, [10]),
        (20, [10, 20]),
        (21, [10, 20, 21]),
        (22, [10, 20, 21, 22]),
        (23, [10, 20, 22, 23]),
        (30, [20, 30]),
    ):
        store.save(step, ARRAYS, {"step": step})
        assert steps() == expected


def test_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "absent").latest() is None


def test_every_truncation_and_bit_flip_is_noticed(tmp_path):
    """latest() falls back to the older checkpoint, whatever byte of the newer one is lost or
    turned."""
    store = Checkpoints(tmp_path)
    store.save(1, ARRAYS, {"step": 1})
    path = store.save(2, ARRAYS, {"step": 2})
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for length in [0, 1, *generator.integers(2, len(whole), 25), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert store.latest().step == 1
    array_bytes = whole.index(ARRAYS["variable/block 0/kernel:0"].tobytes())
    state_byte = whole.index(b'"step": 2')
    for place in [array_bytes + 5, state_byte + 8, *generator.integers(0, len(whole), 100)]:
        turned = bytearray(whole)
        turned[place] ^= 0x10
        path.write_bytes(bytes(turned))
        found = (
            store.latest()
        )  # a flip in a zip field that nothing reads may leave the content whole
        same = all(
            np.array_equal(found.arrays[name], ARRAYS[name]) for name in ARRAYS
        ) and found.state == {"step": 2}
        assert found.step == 1 or same
    path.write_bytes(whole)
    assert store.latest().step == 2


def test_a_whole_archive_of_other_content_is_noticed(tmp_path):
    """An array exchanged by another program, all zip checksums right: only the SHA-256 tells."""
    path = Checkpoints(tmp_path).save(1, ARRAYS, STATE)
    with np.load(path) as archive:
        entries = {name: archive[name] for name in archive.files}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in entries.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array + 1 if name == "counter" else array)
    assert Checkpoints(tmp_path).latest() is None


def test_a_failed_write_changes_nothing(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, ARRAYS, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.save(2, ARRAYS, {"step": 2})
    assert os.listdir(tmp_path) == ["step-0000000001.npz"] and store.latest().step == 1


def test_litter_of_a_killed_process_is_removed(tmp_path):
    (tmp_path / ".step-0000000001.npz.abc.tmp").write_bytes(b"half")
    store = Checkpoints(tmp_path)
    store.save(2, ARRAYS, STATE)
    assert os.listdir(tmp_path) == ["step-0000000002.npz"]


def test_objects_and_nan_states_are_refused(tmp_path):
    store = Checkpoints(tmp_path)
    with pytest.raises(ValueError):
        store.save(1, {"object": np.array([{}])}, {})
    with pytest.raises(ValueError):
        store.save(1, {}, {"loss": float("nan")})
    assert store.latest() is None
