"""benchmarks/cifar10: its reference network, its choice by measured shares and its page, without
training anything."""

import collections
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from benchmarks.cifar10 import budget, page, recipes
from benchmarks.cifar10.contenders import (
    DEPTHS,
    LITE_KERNELS,
    MOBILENET_KERNELS,
    WIDTHS,
    uniform_networks,
)
from benchmarks.cifar10.networks import MADE_WITH, settings_of, stored_result, train_model
from benchmarks.cifar10.resnet import check_against, macs_of, resnet8
from benchmarks.contender_rows import line_of
from pnas_tf.config import TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.network import with_probabilities
from pnas_tf.run import layout
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import named_space
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.model import TfliteModel
from pnas_tf.training.recipe import TrainRecipe


@pytest.fixture(scope="module")
def model():
    return resnet8(seed=1)


def test_resnet8_has_the_published_size(model):
    """MLPerf Tiny: 12.5 M MACs, 78,666 parameters; the count of its README."""
    assert model.count_params() == 78_666
    assert macs_of(model) == pytest.approx(12.5e6, rel=0.005)
    assert resnet8(filters=32).count_params() > 3.9 * 78_666


@pytest.mark.slow
def test_its_own_file_is_it_and_another_width_is_not(model):
    for filters, fits in ((16, True), (18, False)):
        made = model if filters == 16 else resnet8(filters=filters)
        for weight in made.weights:
            if weight.shape.rank == 1:
                weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
        file = TfliteModel(convert(with_probabilities(made), "float32"))
        assert sum(op.macs for op in file.contents.ops) == macs_of(made)
        if fits:
            check_against(file)
        else:
            with pytest.raises(ValueError, match="no ResNet-8"):
                check_against(file)


def test_a_residual_is_behind_its_sum(model):
    """With its last statistics at zero a stage of stride 1 is the ReLU of its input: the input."""
    copy = resnet8(seed=1)
    norm = copy.get_layer("stage_0/second_bn")
    norm.set_weights([np.zeros_like(norm.get_weights()[0])] * 3 + [norm.get_weights()[3]])
    ends = ("stem/conv_relu", "stage_0/relu")
    cut = type(copy)(copy.inputs, [copy.get_layer(name).output for name in ends])
    before, after = cut(tf.random.stateless_normal((2, 32, 32, 3), (0, 1)))
    np.testing.assert_array_equal(before, after)


@dataclasses.dataclass(frozen=True)
class Known(budget.Reference):
    """Takes what it is told: a model is its share."""

    def shares(self, models):
        return dict(models)


def test_the_slowest_that_fits_is_taken():
    reference = Known({})
    networks = [0.2, 0.7, 0.49, 0.495]
    assert budget.slowest_within(networks, 0.5, reference, lambda share: share) == 0.49
    with pytest.raises(ValueError, match="all take more"):
        budget.slowest_within(networks, 0.1, reference, lambda share: share)


def test_a_network_that_takes_more_is_made_again_for_less(monkeypatch):
    monkeypatch.setattr(budget, "untrained", lambda share: share)
    asked = []

    def make(share):
        asked.append(share)
        return share * 1.1

    assert budget.within(make, 0.5, Known({})) <= 0.5
    assert asked[0] == 0.5 and len(asked) == 2
    # The margin is that of `slowest_within`: 0.99 of the budget is too much.
    assert budget.within(lambda share: 0.99 * share, 0.5, Known({})) < 0.4925
    with pytest.raises(ValueError, match="no network"):
        budget.within(lambda share: 3.0, 0.5, Known({}))


def test_a_budget_is_one_of_both_formats(monkeypatch, tmp_path):
    """A network that is fast in float32 and slow in int8 takes what it takes in int8."""
    taken = {"reference_float32": 1.0, "reference_int8": 0.5, "a_float32": 0.8, "a_int8": 0.7}
    Took = collections.namedtuple("Took", "median_ms")
    monkeypatch.setattr(
        budget.pnas,
        "benchmark",
        lambda files, progress: {name: Took(taken[name]) for name in files},
    )
    files = dict.fromkeys(("float32", "int8"), tmp_path / "any.tflite")
    tiny = keras.Sequential([keras.layers.Input((8, 8, 3), 1), keras.layers.Flatten()])
    assert budget.Reference(files).shares({"a": tiny}) == {"a": pytest.approx(1.4)}


def test_what_was_made_otherwise_is_refused(tmp_path):
    path, settings = tmp_path / "result.json", {"train": {"epochs": 20}, "images": {"train": 9}}
    atomic.write_json(path, {"contender": "random", MADE_WITH: settings})
    assert stored_result(path, settings)["contender"] == "random"
    for other in ({**settings, "train": {"epochs": 30}}, {**settings, "images": {"train": 5}}):
        with pytest.raises(UserError, match="other settings"):
            stored_result(path, other)
    atomic.write_json(path, {"contender": "random"})  # nobody knows of what it was made
    with pytest.raises(UserError, match="other settings"):
        stored_result(path, settings)


@dataclasses.dataclass(frozen=True)
class Images:
    train_size: int = 4
    validation_size: int = 2
    test_size: int = 2


def test_recipes_are_those_of_finished_trainings_of_the_same_settings(tmp_path):
    config = TrainConfig(epochs=3)
    for seed, accuracy in enumerate((0.5, 0.7, None)):
        folder = tmp_path / f"plain-{seed}"
        folder.mkdir()
        if accuracy is not None:  # else it was stopped
            history = {"epochs": [{"alpha_accuracy": 0.1}, {"alpha_accuracy": accuracy}]}
            atomic.write_json(folder / layout.HISTORY, history)
            atomic.write_json(folder / recipes.DONE, {MADE_WITH: settings_of(config, Images())})
    assert recipes.accuracies({"plain": config}, Images(), tmp_path) == {"plain": [0.5, 0.7]}
    for other, images in ((TrainConfig(epochs=4), Images()), (config, Images(train_size=5))):
        with pytest.raises(UserError, match="other settings"):
            recipes.accuracies({"plain": other}, images, tmp_path)


def test_another_teacher_at_the_same_place_is_another_recipe(tmp_path):
    teacher = tmp_path / "teacher.tflite"
    teacher.write_bytes(b"one")
    config = TrainConfig(teacher=str(teacher))
    before = settings_of(config, Images())
    assert before["teacher"] and settings_of(TrainConfig(), Images())["teacher"] is None
    teacher.write_bytes(b"another")
    assert settings_of(config, Images()) != before


def test_a_network_of_others_learns_from_the_teacher_that_is_named(model, tmp_path):
    """As networks of this project do: a teacher that is not there is refused before any step."""
    recipe = TrainRecipe(TrainConfig(teacher=str(tmp_path / "absent.tflite")))
    with pytest.raises(UserError, match="no such file"):
        train_model(model, SimpleNamespace(class_names=("a", "b")), recipe, tmp_path / "train")


def rows():
    for name, accuracy in (("searched", (0.91, 0.92)), ("resnet8", (0.88, 0.90))):
        for seed, value in enumerate(accuracy):
            yield {
                "contender": name,
                "share": 1.0,
                "seed": seed,
                "accuracy": {"float32": value, "int8": value - 0.01},
                "measured_ms": {"float32": 0.25, "int8": 0.2},
                "bytes": {"float32": 1000, "int8": 5000},
                "macs": 5e6,
                "minutes": 10.0,
                "ops": ["mbconv_k3_e3"],
            }


def test_a_contender_that_was_stopped_has_no_time():
    one, other = ({**row, "minutes": each} for row, each in zip(rows(), (10.0, None)))
    assert line_of("x", [one, other], decimals=1).endswith("| 10.0 |")
    assert line_of("x", [other], decimals=1).endswith("|  |")


def test_the_page_says_what_the_rows_hold(tmp_path):
    """Means of 91 and 92 against 88 and 90: 2.5 points apart, variances 0.5 and 2 of two each."""
    path = tmp_path / "page.md"
    path.write_text("# Mine\n\nMy own words.\n")
    results = {
        "rows": list(rows()),
        "reference": {
            "accuracy": {"float32": 0.75, "int8": 0.74},
            "measured_ms": {"float32": 0.28, "int8": 0.2},
            "bytes": {"int8": 98496},
        },
        "images": {"train": 40_000, "validation": 10_000, "test": 10_000},
        "train": {"epochs": 3, "mixup": 0.2},
        "optimizer": {"weight_decay": 5e-4},
        "op_costs": [{"where": "8 px", "op": "basic_k3", "ms": 0.02, "macs": 4e6}],
        "device": "this",
    }
    for _ in range(2):  # written anew it is the same
        page.write_page(results, path)
    text = path.read_text()
    assert text.startswith("# Mine\n\nMy own words.\n") and text.count(page.MARK) == 1
    assert "| searched | 2 | 91.50 % ± 0.50 | 90.50 % ± 0.50 | 0.250 |" in text
    assert "+2.50 ± 1.12 points from ResNet-8, 2.2 standard errors" in text
    assert "| basic_k3 | 0.0200 (0.0050) |" in text and "40,000 to train" in text
    plain = " ".join(text.split())
    assert "--budgets=1.0 --seeds=0,1 --contenders=searched,resnet8 --epochs=3` from" in plain
    assert "on this." in plain and "one recipe (`--mixup=0.2`, `--weight_decay=0.0005`)" in plain


@pytest.mark.parametrize("kernels", [LITE_KERNELS, MOBILENET_KERNELS])
def test_networks_of_one_block_have_every_depth_and_width(kernels):
    space = named_space("cifar", classes=10)
    networks = uniform_networks(space, kernels)
    assert len({(net.macs, net.parameters) for net in networks}) == len(DEPTHS) * len(WIDTHS)
    for network in networks:
        for choice, op in zip(network.space.choice_blocks, network.ops, strict=True):
            assert op == MBConv(kernels[choice.stage], 6)
        assert len(network.ops) in [depth * len(space.stages) for depth in DEPTHS]
