"""The search loop: killed at any moment it continues to the same bits, and a loss that is not
finite stops it.

Searches that are killed run in processes of their own, forked from a server that has TensorFlow
imported already.
"""

import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
from forked_program import SERVER
from synthetic import SPACE as FAR_SPACE
from synthetic import FarPixels

from pnas_tf.config import DataConfig, OptimizerConfig, SearchConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.signals import Stopped
from pnas_tf.search.loop import Search
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.targets import Target
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet

SPACE = MBConvSpace(
    "micro",
    8,
    10,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 1, 1), Stage(16, 1, 2)),
    head_width=16,
    candidates=(MBConv(1, 2), MBConv(3, 2)),
    stem_stride=1,
)
OPTIONS = {
    "warmup_epochs": 1,
    "search_epochs": 2,
    "arch_start_epoch": 0,
    "rl_networks": 3,
    "checkpoint_steps": 4,
}
STOPPED = 130


def work(folder, algorithm, data_dir):
    """One process: starts or continues a search of digits."""
    config = SearchConfig(algorithm=algorithm, **OPTIONS)
    dataset = load_dataset(DataConfig(data_dir=data_dir), resolution=8)
    targets = [Target(macs_quantity(SPACE), 1e5)]
    search = Search(
        Supernet(SPACE, SearchConfig(weights_init="he_fout"), numerics=Numerics(), seed=7),
        dataset,
        SearchTargets(tuple(targets), config),
        SearchRecipe(config, OptimizerConfig(), seed=7),
        folder=folder,
    )
    try:
        search.run()
    except Stopped:
        os._exit(STOPPED)


def start(folder, algorithm, data_dir):
    process = SERVER.Process(target=work, args=(folder, algorithm, data_dir))
    process.start()
    return process


def to_the_end(folder, algorithm, data_dir):
    process = start(folder, algorithm, data_dir)
    process.join(1200)
    assert process.exitcode == 0
    return folder


def steps(folder):
    """Steps of the checkpoints that are there."""
    return sorted(
        int(path.stem.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*.npz")
    )


def assert_same_end(folder, straight):
    ends = [Checkpoints(path / "checkpoints").latest() for path in (folder, straight)]
    assert ends[0].step == ends[1].step and ends[0].state == ends[1].state
    assert set(ends[0].arrays) == set(ends[1].arrays)
    different = [
        name
        for name in ends[0].arrays
        if ends[0].arrays[name].tobytes() != ends[1].arrays[name].tobytes()
    ]
    assert not different
    assert (folder / "history.json").read_bytes() == (straight / "history.json").read_bytes()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module", params=["two_path", "reinforce"])
def straight(request, data_dir, tmp_path_factory):
    """(algorithm, folder) of a search without interruption."""
    return request.param, to_the_end(
        tmp_path_factory.mktemp(request.param), request.param, data_dir
    )


@pytest.mark.slow
def test_what_a_checkpoint_holds(straight):
    algorithm, folder = straight
    last = Checkpoints(folder / "checkpoints").latest()
    kinds = {name.split("/")[0] for name in last.arrays}
    assert kinds == {"variable", "momentum", "adam", "alpha"}
    assert any(
        np.abs(last.arrays[name]).max() > 0
        for name in last.arrays
        if name.startswith("adam/second")
    )
    assert (last.state["baseline"] is not None) == (algorithm == "reinforce")
    document = json.loads((folder / "history.json").read_text())
    assert document["judgements"] == last.state["judgements"] and len(document["judgements"]) == 2
    history = document["epochs"]
    assert [row["phase"] for row in history] == [
        "warmup",
        "joint",
        "joint",
    ] and history == last.state["history"]
    assert np.allclose(history[0]["probabilities"][1], 0.5, atol=2e-3) and not np.allclose(
        history[2]["probabilities"][1], 0.5, atol=2e-3
    )


@pytest.mark.slow
def test_killed_at_random_moments_gives_the_same_bits(straight, data_dir, tmp_path):
    """SIGKILL, SIGTERM, SIGKILL, Ctrl-C: each when a random step is reached and a random moment
    later."""
    algorithm, uninterrupted = straight
    total = steps(uninterrupted)[-1]
    generator = random.Random(f"kill {algorithm}")
    moments = sorted(generator.sample(range(1, total - 8), 4))
    for number, moment in zip(
        (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT), moments
    ):
        before = max([0, *steps(tmp_path)])
        process = start(tmp_path, algorithm, data_dir)
        # A signal that comes before the loop has begun ends the process as it ends any other.
        while process.is_alive() and max([0, *steps(tmp_path)]) < max(moment, before + 1):
            time.sleep(0.01)
        time.sleep(generator.uniform(0.0, 0.1))
        os.kill(process.pid, number)
        process.join(120)
        # A search that had reached its end before the signal came is no failure of the search.
        assert (
            process.exitcode in ({-number} if number == signal.SIGKILL else {STOPPED})
            or steps(tmp_path)[-1] == total
        )
    assert_same_end(to_the_end(tmp_path, algorithm, data_dir), uninterrupted)
    assert not [path for path in tmp_path.rglob(".*.tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("straight", ["reinforce"], indirect=True)  # the one with most to restore
def test_a_torn_newest_checkpoint_falls_back_to_the_one_before(straight, data_dir, tmp_path):
    algorithm, uninterrupted = straight
    folder = tmp_path / "search"
    shutil.copytree(uninterrupted, folder)
    newest = max((folder / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[: random.Random(0).randrange(newest.stat().st_size)])
    assert Checkpoints(folder / "checkpoints").latest().step == steps(uninterrupted)[-2]
    (folder / "history.json").unlink()
    assert_same_end(to_the_end(folder, algorithm, data_dir), uninterrupted)


def small_search(folder, **options):
    config = SearchConfig(
        **{
            "warmup_epochs": 1,
            "search_epochs": 2,
            "search_batch_size": 16,
            "arch_start_epoch": 0,
            **options,
        }
    )
    supernet = Supernet(
        FAR_SPACE, SearchConfig(weights_init="he_fout"), numerics=Numerics(), seed=0
    )
    return Search(
        supernet,
        FarPixels(64, 0),
        SearchTargets((Target(macs_quantity(FAR_SPACE), 1e6),), config),
        SearchRecipe(config, OptimizerConfig(), seed=0),
        folder=folder,
    )


def test_a_loss_that_is_not_finite_stops_with_step_checkpoint_and_causes(tmp_path):
    """The rate is absurd from the joint phase on, so the last good checkpoint is that of the
    warm-up phase's end."""
    search = small_search(tmp_path, search_learning_rate=1e30, checkpoint_steps=1)
    with pytest.raises(UserError, match="is not a finite number") as error:
        search.run()
    good = Checkpoints(tmp_path / "checkpoints").latest()
    assert (
        str(search.loop.step) in error.value.what
        and f"Last good checkpoint: step {good.step}" in error.value.fix
    )
    assert "--search_learning_rate" in error.value.fix and "Likely causes" in error.value.fix
    assert 4 <= good.step <= search.loop.step and all(
        np.isfinite(array).all() for array in good.arrays.values()
    )
    assert len(json.loads((tmp_path / "history.json").read_text())["epochs"]) == 1


@pytest.mark.parametrize("spoil", ["arrays", "state"])
def test_a_checkpoint_of_another_search_is_refused_by_name(tmp_path, spoil):
    """Its digests are right, so it is whole; but it is not what this search wrote."""
    search = small_search(tmp_path)
    search.loop.save()
    found = Checkpoints(tmp_path / "checkpoints").latest()
    arrays, state = dict(found.arrays), dict(found.state)
    if spoil == "arrays":
        arrays["alpha/0"] = np.zeros(9)
    else:
        state["arch_step"] = "many"
    Checkpoints(tmp_path / "checkpoints").save(1, arrays, state)
    with pytest.raises(UserError, match="alpha/0" if spoil == "arrays" else "arch_step") as error:
        small_search(tmp_path).loop.restore()
    assert str(tmp_path) in str(error.value)


def test_without_a_checkpoint_it_says_so(tmp_path):
    search = small_search(tmp_path)

    for variable in search.supernet.named_variables().values():
        variable.assign(variable * np.float32(np.nan))
    with pytest.raises(UserError, match="weight step 0 is not a finite number") as error:
        search.run()
    assert (
        "Last good checkpoint: none" in error.value.fix and not (tmp_path / "checkpoints").exists()
    )


def test_a_split_smaller_than_a_batch_is_refused(tmp_path):
    with pytest.raises(UserError, match="smaller than one batch"):
        small_search(tmp_path, search_batch_size=65)
