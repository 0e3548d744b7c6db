"""Single attacks by name: what docs/security.md says is refused is refused, and nothing is run."""

import io
import json
import os
import zipfile

import h5py
import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.data.folders import open_images
from pnas_tf.errors import UserError
from pnas_tf.interop.latency_yaml import load_upstream_table
from pnas_tf.io import atomic, isolated
from pnas_tf.networks.weight_files import load_keras_weights
from pnas_tf.space.mbconv import tiny
from pnas_tf.tflite.parity_report import ParityReport, load_reports


def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="small")


def test_the_configuration_in_a_keras_archive_is_never_looked_at(tmp_path):
    """Keras would import the module that it names and call the function: os.system here."""
    source, target = network(), network()
    source.save(tmp_path / "honest.keras", save_format="keras")
    attack = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }
    with (
        zipfile.ZipFile(tmp_path / "honest.keras") as honest,
        zipfile.ZipFile(tmp_path / "evil.keras", "w") as evil,
    ):
        for name in honest.namelist():
            evil.writestr(name, json.dumps(attack) if name == "config.json" else honest.read(name))
    load_keras_weights(target, tmp_path / "evil.keras")
    assert all(
        np.array_equal(a, b)
        for a, b in zip(source.get_weights(), target.get_weights(), strict=True)
    )


def test_weights_that_lie_elsewhere_are_refused(tmp_path):
    network().save_weights(tmp_path / "w.h5")
    network().save_weights(tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(bytes(range(24)))
    for name, change in (
        ("link", lambda file: file.__setitem__("x", h5py.ExternalLink("other.h5", "/dense"))),
        ("soft", lambda file: file.__setitem__("x", h5py.SoftLink("/nowhere"))),
        (
            "external",
            lambda file: file.create_dataset(
                "x", (6,), "f4", external=[(str(tmp_path / "secret"), 0, 24)]
            ),
        ),
    ):
        path = tmp_path / f"{name}.h5"
        path.write_bytes((tmp_path / "w.h5").read_bytes())
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(UserError, match=f"{name}.h5"):
            load_keras_weights(network(), path)


def test_weights_that_a_network_cannot_hold_as_finite_numbers_are_refused(tmp_path):
    network().save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        shape = file[names[0]].shape
        del file[names[0]]
        file.create_dataset(names[0], data=np.full(shape, 1e300))
    with pytest.raises(UserError, match=r"w\.h5") as refused:
        load_keras_weights(network(), tmp_path / "w.h5")
    assert "float32" in refused.value.received


def test_a_file_that_kills_its_reader_is_refused_and_the_next_is_read():
    with pytest.raises(UserError, match=r"model\.x is harmful") as refused:
        isolated.inspect(
            "hdf5", b"x" * 100, where="model.x", expected="y", fix="z", cpu_s="none"
        )  # it fails outside of what it guards
    assert "process" in refused.value.received
    with pytest.raises(UserError, match=r"model\.x is corrupt"):
        isolated.inspect("hdf5", b"x" * 100, where="model.x", expected="y", fix="z")


def test_loading_a_library_takes_no_time_of_the_file_before(tmp_path, monkeypatch):
    """PyTorch takes seconds to import, and more where others run beside."""
    (tmp_path / "slow_library.py").write_text(
        "import time\nwhile time.process_time() < 3: pass\n"
        "def check(content): return len(content)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(isolated, "CPU_S", 1)
    monkeypatch.setattr(isolated, "_running", [])
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["a"] = np.ones(2, np.float32)
    about = {"where": "model.x", "expected": "y", "fix": "z"}
    try:
        assert isolated.inspect("hdf5", weights.getvalue(), **about) == {"a": [2]}
        assert isolated.inspect("slow_library", b"abc", **about) == 3
    finally:
        isolated._running[0].stop()


def test_yaml_aliases_do_not_multiply(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("a: &a {mean: 1}\nb: &b {<<: [*a, *a], mean: 1}\nc: {<<: [*b, *b], mean: 1}\n")
    with pytest.raises(UserError, match="an anchor, an alias"):
        load_upstream_table(path, space=tiny(), device="x")


@pytest.mark.parametrize(
    "name",
    ["../../model_int8.tflite", "/etc/passwd", "model_int8.tflite\n", "model_../x.tflite", ""],
)
def test_names_in_a_parity_report_stay_in_the_folder(name, tmp_path):
    """tools/publish.py opens and copies files by these names."""
    report = ParityReport("int8", 10, 0.1, 0.01, 3.0, 0.99, 0.9, 0.9, 1000).to_json()
    both, misnamed = (
        {"validation": one, "test": one} for one in (report, {**report, "dtype": name})
    )
    for version, models in (
        (1, {name: report}),
        (1, {"model_int8.tflite": {**report, "dtype": name}}),
        (2, {name: both}),
        (2, {"model_int8.tflite": misnamed}),
    ):
        atomic.write_json(
            tmp_path / "parity.json",
            {"format": "pnas_tf/parity", "version": version, "models": models},
        )
        with pytest.raises(UserError, match=r"parity\.json"):
            load_reports(tmp_path / "parity.json")


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, "a\0b"):
        with pytest.raises(UserError, match="no architecture at"):
            atomic.read_json(path, what="architecture", made_by="search")


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2Jcat", "cat\u202e", "x" * 201])
def test_class_names_are_one_printable_line(name, tmp_path):
    for folder in ("dog", name):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match="class folder") as refused:
        open_images(f"folder:{tmp_path}", skip_unreadable=False)
    assert "\x1b" not in str(refused.value)
