"""Training: it learns, it is deterministic, and a killed one continues to the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.training.loop import seeded_weights, train_network
from pnas_tf.training.schedules import cosine_with_warmup

SPACE = MBConvSpace(
    "micro",
    8,
    10,
    stem_width=8,
    first_width=8,
    stages=(Stage(16, 1, 2), Stage(16, 1, 1)),
    head_width=32,
    candidates=(MBConv(3, 3), MBConv(5, 3)),
    stem_stride=1,
)
ARCHITECTURE = Architecture(SPACE, (MBConv(3, 3), MBConv(5, 3)))
CONFIG = TrainConfig(epochs=4, dropout=0.1, evaluate_epochs=2)

PROGRAM = """
import hashlib, sys
import test_train_network as own
from pnas_tf.data.dataset import load_dataset
from pnas_tf.training.loop import train_network
dataset = load_dataset(own.DataConfig(data_dir=sys.argv[1]), resolution=8)
print("ready", flush=True)
model = train_network(own.ARCHITECTURE, dataset, own.CONFIG, sys.argv[2], seed=3).model
print(hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest())
"""


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def dataset(tfds_dir):
    return load_dataset(DataConfig(data_dir=tfds_dir), resolution=8)


@pytest.fixture(scope="module")
def straight(dataset, tmp_path_factory):
    """Training without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train_network(ARCHITECTURE, dataset, CONFIG, folder, seed=3)


def weights_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def start(tfds_dir, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        "TERM": "dumb",
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tfds_dir, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_it_learns_and_keeps_a_history(straight, dataset):
    folder, trained = straight
    assert [row["epoch"] for row in trained.history] == [0, 1, 2, 3]
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] - 0.3
    assert ["test_accuracy" in row for row in trained.history] == [False, True, False, True]
    assert trained.history[-1]["test_accuracy"] > 0.6
    steps = dataset.steps_per_epoch("combined", batch_size=64)
    assert trained.history[1]["learning_rate"] == cosine_with_warmup(
        2 * steps - 1, steps=4 * steps, warmup_steps=steps, peak=0.05
    )
    assert json.loads((folder / "history.json").read_text())["epochs"] == trained.history
    assert (
        list((folder / "events").iterdir()) and len(list((folder / "checkpoints").iterdir())) == 2
    )


def test_the_trained_model_has_no_dropout_left(straight):
    assert [layer.name for layer in straight[1].model.layers] == [
        layer.name for layer in build_network(ARCHITECTURE).layers
    ]


def test_complete_training_is_only_loaded(straight, dataset, monkeypatch):
    folder, trained = straight
    monkeypatch.setattr(
        type(dataset),
        "combined_batches" if CONFIG.train_on_alpha else "train_batches",
        lambda *_, **__: pytest.fail("it trains again"),
    )
    again = train_network(ARCHITECTURE, dataset, CONFIG, folder, seed=3)
    assert weights_equal(again.model, trained.model) and again.history == trained.history


def test_other_settings_are_refused(straight, dataset):
    weights = seeded_weights(build_network(ARCHITECTURE), seed=9)
    for change in ({"config": TrainConfig(epochs=5)}, {"seed": 4}, {"initial_weights": weights}):
        arguments = {"config": CONFIG, "seed": 3, **change}
        with pytest.raises(UserError, match="other settings"):
            train_network(ARCHITECTURE, dataset, folder=straight[0], **arguments)


def test_killed_at_random_moments_gives_the_same_bits(straight, dataset, tfds_dir, tmp_path):
    """SIGTERM once and SIGKILL twice, each at a random moment after the process was ready; then to
    the end."""
    generator = random.Random(os.urandom(8))
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        process = start(tfds_dir, tmp_path)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(generator.uniform(0.2, 4.0))
        process.send_signal(number)
        process.communicate(timeout=60)
    process = start(tfds_dir, tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    continued = train_network(ARCHITECTURE, dataset, CONFIG, tmp_path, seed=3)
    assert (
        weights_equal(continued.model, straight[1].model)
        and continued.history == straight[1].history
    )
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_a_stop_in_the_middle_of_an_epoch_is_continued_there(
    straight, dataset, tmp_path, monkeypatch
):
    from pnas_tf.run.checkpoints import Checkpoints
    from pnas_tf.training import loop

    calls = {"left": 30}
    step = loop.TrainStep.__call__

    def interrupted(self, *arguments, **named):
        calls["left"] -= 1
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **named)

    monkeypatch.setattr(loop.TrainStep, "__call__", interrupted)
    with pytest.raises(loop.Stopped):
        train_network(ARCHITECTURE, dataset, CONFIG, tmp_path, seed=3)
    stopped_at = Checkpoints(tmp_path / "checkpoints").latest()
    assert stopped_at.step == 30 and 30 % dataset.steps_per_epoch("combined", batch_size=64) != 0
    monkeypatch.undo()
    continued = train_network(ARCHITECTURE, dataset, CONFIG, tmp_path, seed=3)
    assert (
        weights_equal(continued.model, straight[1].model)
        and continued.history == straight[1].history
    )


def test_torn_newest_checkpoint_falls_back_to_the_one_before(straight, dataset, tmp_path):
    import shutil

    shutil.copytree(straight[0] / "checkpoints", tmp_path / "checkpoints")
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    continued = train_network(ARCHITECTURE, dataset, CONFIG, tmp_path, seed=3)
    assert (
        weights_equal(continued.model, straight[1].model)
        and continued.history == straight[1].history
    )


def test_a_loss_that_is_not_finite_stops_with_step_checkpoint_and_causes(dataset, tmp_path):
    weights = seeded_weights(build_network(ARCHITECTURE), seed=0)
    weights[-2] = np.full_like(weights[-2], np.nan)
    with pytest.raises(UserError, match="loss of step 0 is not a finite number") as error:
        train_network(
            ARCHITECTURE, dataset, TrainConfig(epochs=1), tmp_path, seed=0, initial_weights=weights
        )
    assert "Last good checkpoint: none" in error.value.fix and "learning_rate" in error.value.fix


def test_initial_weights_follow_the_seed_and_the_layers_own_distribution():
    model = build_network(ARCHITECTURE)
    first, again, other = (seeded_weights(model, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    for variable, a, b in zip(model.weights, first, other):
        if "kernel" not in variable.name:
            assert np.array_equal(a, b)
            continue
        assert not np.array_equal(a, b)
        depthwise = "depthwise" in variable.name.rsplit("/", 1)[-1]
        fan_out = np.prod(a.shape[:2]) if depthwise else np.prod(a.shape[:-2]) * a.shape[-1]
        # The sample deviation of n normal numbers is off by 1 / sqrt(2 n); 6 of them.
        assert abs(a.std() / np.sqrt(2 / fan_out) - 1) < 6 / np.sqrt(2 * a.size)
    assert len({weight.tobytes()[:32] for weight in first if weight.ndim > 1}) == sum(
        weight.ndim > 1 for weight in first
    )


def test_holding_alpha_out(dataset, tmp_path):
    config = TrainConfig(epochs=1, train_on_alpha=False)
    trained = train_network(ARCHITECTURE, dataset, config, tmp_path, seed=0)
    right = trained.history[0]["alpha_accuracy"] * dataset.validation_size
    assert (
        right == pytest.approx(round(right))
        and len(trained.history) == 1
        and "test_accuracy" not in trained.history[0]
    )
    with pytest.raises(UserError, match="no steps"):
        train_network(
            ARCHITECTURE, dataset, TrainConfig(epochs=1, batch_size=10_000), tmp_path / "x", seed=0
        )
