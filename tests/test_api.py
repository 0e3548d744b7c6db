"""The public API as a caller uses it: every step on arrays, the whole way, what importing costs."""

import ast
import dataclasses
import functools
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

import pnas_tf as pnas
from pnas_tf import api, fitting
from pnas_tf.config import (
    BenchmarkConfig,
    CalibrateConfig,
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    EffectsConfig,
    ExportConfig,
    LatencyConfig,
    OptimizerConfig,
    OutputConfig,
    PretrainedConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from pnas_tf.data import ImageData
from pnas_tf.data.dataset import Dataset
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.report.manifest import publish, read_manifest
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import TABLES
from pnas_tf.run.signals import Stopped
from pnas_tf.search.int8_accuracy import int8_accuracy
from pnas_tf.search.quantities import latency_quantity, macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.result import SearchResult
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import save_space
from pnas_tf.steps.programs import Program
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.training.recipe import TrainRecipe

pytestmark = pytest.mark.usefixtures("few_rounds")

SPACE = MBConvSpace(
    "two",
    16,
    3,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 2, 1),),
    head_width=16,
    candidates=(MBConv(3, 3), MBConv(5, 6)),
)
SEARCH = SearchConfig(warmup_epochs=1, search_epochs=1, search_batch_size=16, arch_start_epoch=0)
TRAIN = TrainConfig(epochs=2, batch_size=16, learning_rate_warmup_epochs=0.0)
DERIVE = DeriveConfig(derive_networks=2, derive_trained=0)
LATENCY = LatencyConfig(calibration_networks=0, latency_rewrites=("none",))
HOST = dataclasses.replace(pnas.device("host"), min_invocations=5, warmup_invocations=1)
# The bounds are another test's: two epochs make no accuracy that int8 could keep.
EXPORT = ExportConfig(representative_images=16, max_accuracy_drop=1.0)


@pytest.fixture(scope="module")
def data():
    """240 pictures 16x16 of a bright third: left, middle or right."""
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = generator.integers(0, 80, (240, 16, 16, 3))
    for image, label in zip(images, labels):
        image[:, 5 * label : 5 * label + 5] += 150
    return pnas.data.from_arrays(images.astype(np.uint8), labels, ["left", "middle", "right"])


@pytest.fixture(scope="module")
def table():
    return pnas.measure_latency(SPACE, HOST, config=LATENCY)


@pytest.fixture(scope="module")
def found(data, table):
    return pnas.search(SPACE, data, table, recipe=SearchRecipe(SEARCH))


@pytest.fixture(scope="module")
def model(data, found):
    return pnas.train(found.derive(DERIVE), data, recipe=TrainRecipe(TRAIN))


def test_a_space_by_name_and_by_file(tmp_path):
    space = pnas.space("proxyless", resolution=96, classes=["a", "b"])
    assert (space.classes, space.resolution) == (2, 96)
    own = pnas.space(save_space(SPACE, tmp_path / "own.json"), classes=5, width=2.0)
    assert own.classes == 5 and own.head.width == SPACE.with_width(2.0).head.width
    with pytest.raises(UserError, match="unknown search space"):
        pnas.space("mobilenet", classes=2)


def test_a_space_takes_numbers_of_numpy_and_no_text_for_classes():
    plain = pnas.space("tiny", classes=4, resolution=96, width=0.5)
    labels = np.arange(4)
    found = pnas.space(
        "tiny", classes=labels.max() + 1, resolution=np.int64(96), width=np.float32(0.5)
    )
    assert found == plain and type(found.classes) is type(found.resolution) is int
    assert pnas.space("tiny", classes=np.array(["a", "b"])).classes == 2
    for classes in ("10", 10.0, None, True):
        with pytest.raises(UserError, match="classes of a search space"):
            pnas.space("tiny", classes=classes)
    for resolution in (0, "96"):
        with pytest.raises(UserError, match="--resolution"):
            pnas.space("tiny", classes=4, resolution=resolution)


def test_a_space_of_grey_images_is_refused_before_any_work(data):
    grey = dataclasses.replace(SPACE, channels=1)
    with pytest.raises(UserError, match="channels of space 'two'"):
        pnas.search(grey, data, None, recipe=SearchRecipe(SearchConfig(objective="macs")))
    with pytest.raises(UserError, match="channels of space 'two'"):
        pnas.train(random_architecture(grey, seed=0), data)


def test_a_device_is_options():
    assert pnas.device() == DeviceConfig()
    assert pnas.device("ssh:pi@board", threads=4).threads == 4
    with pytest.raises(UserError, match="--device=phone"):
        pnas.device("phone")


@pytest.mark.slow
def test_every_block_is_measured(table, tmp_path):
    assert set(table.entries) == set(SPACE.distinct_blocks())
    again = type(table).load(table.save(tmp_path / "table.json"))
    assert again.entries == table.entries


@pytest.mark.slow
def test_a_search_without_a_folder_lives_as_long_as_its_result(data, table):
    found = pnas.search(SPACE, data, table, recipe=SearchRecipe(SEARCH))
    folder = Path(found.folder)
    np.testing.assert_allclose([p.sum() for p in found.probabilities], 1.0, atol=1e-12)
    assert folder.is_dir()
    del found
    assert not folder.exists()


@pytest.mark.slow
def test_a_search_in_a_folder_is_the_one_without(data, table, found, tmp_path):
    kept = pnas.search(SPACE, data, table, recipe=SearchRecipe(SEARCH), folder=tmp_path)
    for ours, theirs in zip(kept.probabilities, found.probabilities, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_folder_with_another_search_is_refused(data, table, tmp_path):
    """By options, seed, target or data, finished or not; the same call again gives the same."""
    recipe = SearchRecipe(SEARCH)
    first = pnas.search(SPACE, data, table, recipe=recipe, folder=tmp_path).probabilities
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.npz")}
    again = pnas.search(SPACE, data, table, recipe=recipe, folder=tmp_path).probabilities
    assert [p.tolist() for p in again] == [p.tolist() for p in first]
    middle = sum(latency_quantity(SPACE, table).range) / 2
    for other in (
        dataclasses.replace(recipe, seed=1),
        dataclasses.replace(recipe, config=dataclasses.replace(SEARCH, search_epochs=2)),
        dataclasses.replace(
            recipe, config=dataclasses.replace(SEARCH, target_latency_ms=repr(1.01 * middle))
        ),
        dataclasses.replace(recipe, optimizer=OptimizerConfig(weight_decay=0.1)),
    ):
        with pytest.raises(UserError, match="started with other settings"):
            pnas.search(SPACE, data, table, recipe=other, folder=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.npz")} == before


def test_a_schedule_without_alpha_is_told_by_the_option_that_makes_it(data, table):
    config = dataclasses.replace(SEARCH, arch_start_epoch=30)
    with pytest.raises(UserError, match="--arch_start_epoch=30"):
        pnas.search(SPACE, data, table, recipe=SearchRecipe(config))


@pytest.mark.parametrize("step", ["search", "train", "export"])
@pytest.mark.slow
def test_a_file_that_breaks_while_it_is_streamed_is_a_users_error(
    step, table, model, tmp_path, monkeypatch
):
    """Behind the real pipeline, of which the step's own work reads one batch here."""
    for number in range(30):
        path = tmp_path / f"{number % 3}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (80 * (number % 3), 8 * number, 9)).save(path)
    streamed = DataConfig(in_memory_mb=0)
    data = pnas.data.from_folder(tmp_path, data_config=streamed)

    def breaking(*arguments, **_):
        for path in tmp_path.rglob("*.png"):
            path.write_bytes(b"")
        dataset = next(each for each in arguments if isinstance(each, Dataset))
        next(iter(dataset.train_batches(batch_size=2, seed=0, epoch=0)))

    calls = {
        "search": ("search.api.search_architecture", lambda: pnas.search(SPACE, data, table)),
        "train": ("training.loop.train_network", lambda: pnas.train(model.architecture, data)),
        "export": ("tflite.export.export_network", lambda: pnas.export(model, data)),
    }
    name, call = calls[step]
    monkeypatch.setattr(f"pnas_tf.{name}", breaking)
    with pytest.raises(UserError, match=r"image .*\.png is gone or broken"):
        call()


def test_the_target_is_the_recipes_or_the_arguments(data, table):
    with pytest.raises(UserError, match="target_latency_ms is out of reach"):
        pnas.search(SPACE, data, table, target_latency_ms=np.float64(1e6))
    impossible = SearchRecipe(dataclasses.replace(SEARCH, target_latency_ms="1e6"))
    with pytest.raises(UserError, match="target_latency_ms is out of reach"):
        pnas.search(SPACE, data, table, recipe=impossible)


@pytest.mark.slow
def test_one_supernet_gives_networks_for_any_budgets(data, table, tmp_path):
    """Of effects, without alpha; the best by them keeps the budgets, or they are refused before the
    search."""
    phases = dataclasses.replace(SEARCH, arch_start_epoch=None)
    recipe = SearchRecipe(dataclasses.replace(phases, algorithm="one_shot", sampling="fair"))
    most = sum(macs_quantity(SPACE).range) / 2
    budgets = [pnas.budget("macs", most), pnas.budget("latency_ms", 1e6)]
    found = pnas.search(SPACE, data, table, recipe=recipe, budgets=budgets, folder=tmp_path)
    history = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert [row["phase"] for row in history] == ["warmup", "warmup"]
    assert {p for row in history for block in row["probabilities"] for p in block} <= {0.5, 1 / 3}
    found.fit_effects(EffectsConfig(effect_paths=40, effect_images=48), {"here": table})
    before = found.learnt.effects
    assert found.fit_effects(EffectsConfig(effect_paths=44, effect_images=48)) is not before
    assert found.learnt.effects is found.effects is not before
    found.fit_effects(EffectsConfig(effect_paths=40, effect_images=48), {"here": table})
    document = json.loads((tmp_path / "effects.json").read_text())
    assert {row["op"] for row in document["choices"]} >= {"mbconv_k3_e3", "mbconv_k5_e6"}
    assert found.effects.agreement.paths == 10
    derivation = found.derivation(dataclasses.replace(DERIVE, min_latency_fraction=0.0))
    assert derivation.architecture.macs <= most
    losses = [row["effects_loss"] for row in derivation.compared]
    assert losses == sorted(losses) and len(losses) == 2
    with pytest.raises(UserError, match="--derive=most_probable"):
        found.derive(DeriveConfig(derive="most_probable"))
    with pytest.raises(UserError, match="fits the budget"):
        pnas.search(SPACE, data, table, recipe=recipe, budgets=[pnas.budget("macs", 10.0)])


def test_every_limit_that_was_asked_for_holds(table, found):
    """What a derivation is given takes the place of the search's limit of the same thing alone."""
    least, slowest = latency_quantity(SPACE, table).range
    low, high, most = (3 * least + slowest) / 4, 2 * slowest, sum(macs_quantity(SPACE).range) / 2
    budgets = (pnas.budget("macs", most), pnas.budget("latency_ms", high))
    kept = dataclasses.replace(found, budgets=budgets)

    def held(result, config=DeriveConfig(), *given):
        pairs = result.limits(config, given).pairs
        return {bound.quantity.name: bound.most for _, bound in pairs}

    assert held(kept) == {"latency": high, "macs": most}
    assert held(kept, DeriveConfig(max_latency_ms=low)) == {"latency": low, "macs": most}
    both = held(found, DeriveConfig(max_latency_ms=low), pnas.budget("latency_ms", high))
    assert both == {"latency": low}
    more = held(kept, DeriveConfig(), pnas.budget("parameters", 1e6))
    assert more == {"latency": high, "macs": most, "parameters": 1e6}
    assert held(kept, DeriveConfig(), pnas.budget("macs", 2 * most))["macs"] == 2 * most
    with pytest.raises(UserError, match="max_macs --max_latency_ms with --derive=most_probable"):
        kept.derive(DeriveConfig(derive="most_probable"))
    aimed = SearchRecipe(dataclasses.replace(SEARCH, objective="macs", target_value=most))
    in_macs = dataclasses.replace(found, recipe=aimed)
    assert held(in_macs, DeriveConfig(max_latency_ms=low)) == {"macs": most, "latency": low}
    assert held(in_macs, DeriveConfig(max_macs=2 * most)) == {"macs": 2 * most}
    target = Target(latency_quantity(SPACE, table), low)
    for result, others in ((kept, {"macs": most}), (in_macs, {})):
        swept = result.limits(DeriveConfig(max_latency_ms=high)).swept(target)
        bounds = [(bound.quantity.name, bound.most) for _, bound in swept.pairs]
        assert bounds == [("latency", low), *others.items()]


def test_weights_that_nobody_would_start_from_are_refused(data, found):
    """And so is a start for which there are none."""
    network = found.derive(DERIVE)
    for init in ("inherit", "pretrained"):
        with pytest.raises(UserError, match="those of scratch"):
            pnas.train(network, data, recipe=TrainRecipe(TrainConfig(init=init)))
    with pytest.raises(UserError, match="those of inherit"):
        recipe = TrainRecipe(TrainConfig(init="scratch"))
        pnas.train(network, data, recipe=recipe, searched=found)
    with pytest.raises(UserError, match="weights_init='he_fout'"):
        SearchRecipe(SearchConfig(weights_init="he_fout")).starting_from(None)


def test_classes_must_agree(data, table, found):
    other = dataclasses.replace(SPACE, classes=4)
    with pytest.raises(UserError, match="another number of classes"):
        pnas.search(other, data, table)
    with pytest.raises(UserError, match="another number of classes"):
        pnas.train(dataclasses.replace(found.derive(DERIVE), space=other), data)


def test_what_is_taken_over_is_told_and_kept(data, table, monkeypatch, tmp_path, capsys):
    network = random_architecture(SPACE, seed=0)
    network.save(tmp_path / "architecture.json")
    build_network(network).save_weights(tmp_path / "model.h5")
    done = SimpleNamespace(model=SimpleNamespace())
    monkeypatch.setattr("pnas_tf.training.loop.train_network", lambda *_, **__: done)
    monkeypatch.setattr("pnas_tf.search.api.search_architecture", lambda *_, **__: found)
    found, start = SearchResult(tmp_path, SPACE, data.at(16), table), str(tmp_path / "model.h5")
    pnas.train(network, data, pretrained=start, folder=tmp_path / "train")
    told = capsys.readouterr().out
    assert f"starts from {start}: " in told and "new: classifier of 3 classes" in told
    kept = json.loads((tmp_path / "train/pretrained.json").read_text())
    assert kept["source"] == start and kept["new"]
    pnas.search(SPACE, data, table, pretrained=start, folder=tmp_path / "search")
    assert f"starts from {start}: of 4 candidates" in capsys.readouterr().out
    pnas.train(network, data, folder=tmp_path / "other")
    pnas.search(SPACE, data, table, folder=tmp_path / "other")
    assert capsys.readouterr().out == "" and not (tmp_path / "other/pretrained.json").exists()


@pytest.mark.slow
def test_training_may_start_from_the_searched_weights(data, found):
    """By steps of no length the two networks are what they started from."""
    still = TrainRecipe(dataclasses.replace(TRAIN, epochs=1, learning_rate=1e-30))
    architecture = found.derive(DERIVE)
    ours = pnas.train(architecture, data, recipe=still, searched=found)
    theirs = found.supernet_weights.network(architecture, data.at(16), batch_size=16)
    for one, other in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-25)


def test_a_training_has_colours_of_its_own(data, found, monkeypatch):
    monkeypatch.setattr(ImageData, "at", lambda self, _: pytest.fail(self.config.distort_color))
    for color, expected in (("strong", "strong"), (None, data.config.distort_color)):
        recipe = TrainRecipe(TrainConfig(train_distort_color=color))
        with pytest.raises(pytest.fail.Exception, match=expected):
            pnas.train(found.derive(DERIVE), data, recipe=recipe)


@pytest.mark.slow
def test_a_file_may_take_pixels_as_they_are(data, model):
    """Whoever hands over 0 to 255 gets what others get for normalised images, and the metadata say
    that nothing is to be done."""
    formats = ("float32", "float16", "dynamic_int8", "int8")
    config = dataclasses.replace(EXPORT, formats=formats)
    plain = pnas.export(model, data, config=config)
    files = pnas.export(model, data, config=dataclasses.replace(config, float_input="pixels"))
    pixels = data.arrays.images[:8]
    for dtype, bound in (("float32", 1e-5), ("float16", 1e-3), ("dynamic_int8", 0.02)):
        given = Classifier(files[dtype].content).logits(pixels)
        np.testing.assert_allclose(given, plain[dtype].predict(pixels), atol=bound)
        np.testing.assert_array_equal(given, files[dtype].predict(pixels))
        found = files[dtype].inspect().metadata
        assert (found.mean, found.std) == ((0.0,), (1.0,))
        assert files[dtype].parity.images == plain[dtype].parity.images
    assert files["int8"].content == plain["int8"].content


@pytest.mark.slow
def test_files_give_what_the_network_gives(data, model, tmp_path):
    files = pnas.export(model, data, config=EXPORT)
    float32 = pnas.export(model, data, config=dataclasses.replace(EXPORT, formats=("float32",)))
    assert set(float32) == {"float32"}
    assert set(files) == {"float32", "int8"} and files["int8"].parity.dtype == "int8"
    pixels = data.arrays.images[:8]
    normalised = (pixels.astype(np.float32) - files["int8"].mean) / files["int8"].std
    logits = model(normalised).numpy()
    odds = np.exp(logits - logits.max(1, keepdims=True))
    expected = odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(files["float32"].predict(pixels), expected, atol=1e-4)
    saved = files.save(tmp_path / "out")
    assert saved["int8"].read_bytes() == files["int8"].content
    inspection = files["float32"].inspect()
    assert inspection.metadata.labels == ("left", "middle", "right")
    assert json.loads(inspection.metadata.files["architecture.json"])
    times = pnas.benchmark(files, HOST)
    assert set(times) == set(files) and all(entry.median_ms > 0 for entry in times.values())
    assert set(pnas.benchmark({"mine": saved["float32"]}, HOST)) == {"mine"}
    for given, received in ((dict(files), "ExportedModel"), (saved["float32"], "PosixPath")):
        with pytest.raises(UserError, match="files to measure") as error:
            pnas.benchmark(given, HOST)
        assert error.value.received == received


@pytest.mark.slow
def test_int8_accuracy_of_a_network_that_answers_one_class_is_its_share(data, model):
    dataset, head = data.at(16), model.layers[-1]
    labels, before = dataset.validation_split.labels, head.get_weights()
    try:
        for label in range(3):
            bias = np.eye(3, dtype=np.float32)[label]
            head.set_weights([np.zeros_like(before[0]), bias])
            assert int8_accuracy(model, dataset, ()) == pytest.approx(np.mean(labels == label))
    finally:
        head.set_weights(before)


def test_a_network_of_nobody_needs_its_architecture(data):
    import tf_keras as keras

    inputs = keras.Input((16, 16, 3))
    plain = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    with pytest.raises(UserError, match="architecture="):
        pnas.export(plain, data)
    with pytest.raises(UserError, match=r"quantize='qat', prune=0\.5"):
        pnas.export(plain, data, config=ExportConfig(quantize="qat", prune=0.5))


def test_files_are_held_to_budgets_that_are_given(data, monkeypatch):
    name = "model_float32.tflite"
    made = SimpleNamespace(
        contents={name: bytes(10_001)}, reports={name: SimpleNamespace(dtype="float32")}
    )
    monkeypatch.setattr("pnas_tf.tflite.export.export_network", lambda *_, **__: made)
    monkeypatch.setattr("pnas_tf.report.budgets.ram_bytes", lambda _: {})
    monkeypatch.setattr("pnas_tf.tflite.exported_model.ExportedModels.of", lambda *_: "whole")
    network = random_architecture(SPACE, seed=0)

    def export(most, formats=("float32",)):
        budgets = [pnas.budget("size_kb", most, dtype="float32"), pnas.budget("macs", 1)]
        return pnas.export(None, data, formats=formats, architecture=network, budgets=budgets)

    assert export(10.001) == "whole"
    with pytest.raises(UserError, match="size of the float32 file is beyond its budget"):
        export(10)
    with pytest.raises(UserError, match="budget of the float32 file"):
        export(10, ("int8",))


@pytest.mark.slow
def test_the_whole_way(data, tmp_path, capsys, monkeypatch):
    space = SpaceConfig(space=str(save_space(SPACE, tmp_path / "space.json")))
    options = [space, SEARCH, TRAIN, DERIVE, LATENCY, EXPORT]
    most = sum(macs_quantity(SPACE).range) / 2
    budgets = [pnas.budget("macs", most)]
    result = pnas.fit(
        data,
        device=HOST,
        max_latency_ms=1e6,
        budgets=budgets,
        run_dir=tmp_path / "run",
        options=options,
    )
    assert result.architecture.macs <= most
    assert result.architecture.space.classes == 3
    assert set(result.files) == {"float32", "int8"} and all(
        path.is_file() for path in result.files.values()
    )
    assert result.report().read_text().lower().startswith("<!doctype html>")
    assert 0 <= result.summary["test_accuracy"]["keras"] <= 1
    np.testing.assert_array_equal(result.model.predict(np.zeros((1, 16, 16, 3))).shape, (1, 3))
    assert result.model.architecture == result.architecture  # as `pnas.export` asks for
    _, front, _ = (tmp_path / "run/model_card.md").read_text().split("---\n", 2)
    (card,) = yaml.safe_load(front)["model-index"][0]["results"]
    told = {metric["value"] for metric in card["metrics"] if metric["type"] == "accuracy"}
    assert told == {result.summary["test_accuracy"][dtype] for dtype in ("float32", "int8")}
    for dtype in ("float32", "int8"):
        assert (tmp_path / f"run/model_{dtype}_node_data.json").exists() == (
            tmp_path / f"run/{TABLES[dtype]}"
        ).exists()
    with RunFolder(tmp_path / "run") as folder:
        written = publish(folder, tmp_path / "published", name="thirds")
    assert [path.name for path in written] == [
        "thirds_float32.tflite",
        "thirds_int8.tflite",
        "manifest.json",
        "thirds_model_card.md",
    ]
    assert read_manifest(tmp_path / "published").keys() == {path.name for path in written[:2]}
    for name, step in (("model_int8.tflite", "benchmark"), ("architecture.json", "train")):
        before = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(before + b" ")  # made anew by an earlier step
        with RunFolder(tmp_path / "run") as folder, pytest.raises(UserError, match=f"pnas {step}"):
            publish(folder, tmp_path / "published", name="thirds")
        (tmp_path / "run" / name).write_bytes(before)
    config = json.loads((tmp_path / "run/config.json").read_text())
    slowest = config["SearchConfig"]["target_latency_ms"]
    assert 0 < float(slowest) < 1e6, "a budget that every network meets is the slowest network's"
    before = (tmp_path / "run/steps.json").read_bytes()
    assert "7/7] benchmark: host: model_float32 " in capsys.readouterr().out
    assert "train 1/" in (tmp_path / "run/log.txt").read_text()
    options += [OutputConfig(quiet=True)]
    pnas.fit(
        data,
        device=HOST,
        max_latency_ms=1e6,
        budgets=budgets,
        run_dir=tmp_path / "run",
        options=options,
    )
    assert (tmp_path / "run/steps.json").read_bytes() == before, "complete, skipped"
    assert capsys.readouterr().out == "", "quiet"
    assert (result.save(tmp_path / "copy") / "report.html").is_file()
    asked = []
    monkeypatch.setattr(RunFolder, "settle", lambda *_: None)  # with the options of others
    monkeypatch.setattr(Program, "work", lambda _, todo, call: asked.append(call.configs))
    fit = functools.partial(pnas.fit, data, device=HOST, run_dir=tmp_path / "run")
    least = float(slowest) / 2
    for limit, config, target in (
        (1e6, DeriveConfig(max_latency_ms=least), slowest),  # neither replaces the other
        (least, DeriveConfig(max_latency_ms=1e6), repr(least)),
        (least, SearchConfig(target_latency_ms=slowest), slowest),
        (least, SearchConfig(objective="macs"), "auto"),
    ):
        fit(max_latency_ms=limit, options=[*options, config])
        assert asked[-1][DeriveConfig].max_latency_ms == least
        assert asked[-1][SearchConfig].target_latency_ms == target
    with pytest.raises(UserError, match="max_latency_ms with --derive=most_probable"):
        fit(max_latency_ms=least, options=[*options, DeriveConfig(derive="most_probable")])


def test_options_that_have_an_argument_of_their_own_are_refused(data):
    for wrong in (DataConfig(), RunConfig(), DeviceConfig(), "epochs=3"):
        with pytest.raises(UserError, match="an option of fit"):
            pnas.fit(data, options=[wrong])
    with pytest.raises(UserError, match="an option of fit"):
        pnas.fit(data, options="epochs=3")
    with pytest.raises(UserError, match=r"--distillation_weight=0\.9"):  # as the command line
        pnas.fit(data, options=[TrainConfig(distillation_weight=0.9)])
    with pytest.raises(UserError, match=r"with --algorithm=one_shot"):
        pnas.fit(data, options=[EffectsConfig(effect_paths=30)])
    architecture = random_architecture(SPACE, seed=0)
    recipe = TrainRecipe(TrainConfig(distillation_weight=0.9))
    with pytest.raises(UserError, match=r"--distillation_weight=0\.9"):  # and step by step
        pnas.train(architecture, data, recipe=recipe)
    with pytest.raises(UserError, match="--finetune_epochs=9"):
        pnas.export(build_network(architecture), data, config=ExportConfig(finetune_epochs=9))
    published = LatencyConfig(original_table="pixel.yaml")
    for measure in (pnas.measure_latency, pnas.calibrate):
        with pytest.raises(UserError, match=r"original_table='pixel\.yaml'"):
            measure(SPACE, HOST, config=published)
        with pytest.raises(UserError, match="--original_device=mine"):
            measure(SPACE, HOST, config=LatencyConfig(original_device="mine"))


def test_each_call_refuses_what_the_command_line_refuses(data, table, found, tmp_path):
    recipe = SearchRecipe(dataclasses.replace(SEARCH, regulariser_alpha=0.5))
    with pytest.raises(UserError, match=r"--regulariser_alpha=0\.5"):
        pnas.search(SPACE, data, table, recipe=recipe)
    for one in (found.derive, found.derivation):
        with pytest.raises(UserError, match="--derive_networks=9"):
            one(DeriveConfig(derive="most_probable", derive_networks=9))
    for name in ("a", "b"):
        (tmp_path / name).write_text("{}")
    both = CalibrateConfig(prior=(str(tmp_path / "a"),), old_table=str(tmp_path / "b"))
    with pytest.raises(UserError, match="--old_table with --prior"):
        pnas.calibrate(SPACE, HOST, few=both)
    gpu = dataclasses.replace(HOST, delegate="gpu")
    for measure in (
        functools.partial(pnas.measure_latency, SPACE, gpu),
        functools.partial(pnas.calibrate, SPACE, gpu, few=CalibrateConfig(blocks=3)),
        functools.partial(pnas.benchmark, {}, gpu),
    ):
        with pytest.raises(UserError, match="--delegate=gpu with --device=host"):
            measure()
    for measure in (
        functools.partial(pnas.measure_latency, SPACE, "host"),
        functools.partial(pnas.benchmark, {}, "host"),
        functools.partial(pnas.fit, data, device="host"),
    ):
        with pytest.raises(UserError, match="options given in Python") as refused:
            measure()
        assert "pnas_tf.device" in refused.value.expected


def test_a_result_is_made_anew_where_that_is_asked_for(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Program, "run", lambda _, call: asked.append(call.configs[RunConfig]))
    for restart in (False, True):
        pnas.fit(data, run_dir=tmp_path / "run", restart=restart)
    assert [config.restart for config in asked] == [False, True]


def test_a_run_folder_is_named_as_on_the_command_line(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Program, "run", lambda _, call: asked.append(call.folder.path))
    pnas.fit(data, run_dir="~/runs/mine")
    assert asked == [tmp_path / "runs/mine"]
    with pytest.raises(UserError, match="--run_dir"):
        pnas.fit(data, run_dir="")


def test_stopped_work_says_whether_it_can_go_on(data, table, monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise Stopped("stopped at step 3; a checkpoint is in somewhere")

    monkeypatch.setattr("pnas_tf.search.api.search_architecture", stopped)
    monkeypatch.setattr("pnas_tf.training.loop.train_network", stopped)
    monkeypatch.setattr(Program, "run", stopped)
    recipe, network = SearchRecipe(SEARCH), random_architecture(SPACE, seed=0)
    for call, argument in (
        (functools.partial(pnas.search, SPACE, data, table, recipe=recipe), "folder"),
        (functools.partial(pnas.train, network, data, recipe=TrainRecipe(TRAIN)), "folder"),
        (functools.partial(pnas.fit, data), "run_dir"),
    ):
        with pytest.raises(Stopped, match=f"with {argument}=FOLDER"):
            call()
        with pytest.raises(Stopped, match="in somewhere"):
            call(**{argument: tmp_path})


@pytest.mark.parametrize("recipe", [SearchRecipe, TrainRecipe])
def test_seeds_of_recipes_are_those_of_the_option(recipe):
    assert type(recipe(seed=np.int64(3)).seed) is int
    with pytest.raises(UserError, match="--seed"):
        recipe(seed=-1)


def test_what_no_step_can_use_is_refused_before_the_first(data, tmp_path):
    """It was refused behind table, search and training, whose folder then went too."""
    for wrong, said in (
        (ExportConfig(rewrites=("split_depthwis",)), "split_depthwis"),
        (BenchmarkConfig(sustained="bogus"), "bogus"),
    ):
        with pytest.raises(UserError, match=said):
            pnas.fit(data, max_latency_ms=5, run_dir=tmp_path / "run", options=[wrong])
        assert not list((tmp_path / "run").glob("*table*"))


def test_weights_and_images_are_looked_at_before_a_table_is_measured(data, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "run_steps", lambda *_: pytest.fail("measured"))
    space = SpaceConfig(str(save_space(SPACE, tmp_path / "space.json")))
    random_architecture(SPACE, seed=0).save(tmp_path / "architecture.json")
    (tmp_path / "model.keras").write_bytes(b"half of a file")
    for wrong, said in (
        (PretrainedConfig(str(tmp_path / "model.keras")), r"model\.keras"),
        (SearchConfig(search_batch_size=512), "smaller than one batch"),
    ):
        with pytest.raises(UserError, match=said):
            pnas.fit(
                data, max_latency_ms=5, run_dir=tmp_path / "run", options=[space, SEARCH, wrong]
            )


def test_importing_costs_nothing_and_rooms_stay_rooms():
    program = """
import sys, time
started = time.perf_counter()
import pnas_tf as pnas
functions = [pnas.device, pnas.measure_latency, pnas.train, pnas.export, pnas.benchmark]
assert all(map(callable, [*functions, pnas.space, pnas.search, pnas.fit]))
assert "tensorflow" not in sys.modules, "loaded"
from pnas_tf.space.ops import MBConv
import pnas_tf.search.sampling
assert pnas.space.ops.MBConv is MBConv and pnas.search.sampling
assert pnas.space("tiny", classes=3).classes == 3
import pnas_tf.search.recipe, pnas_tf.training.recipe
assert "tensorflow" not in sys.modules, "loaded by a space"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_can_be_called_says_how():
    assert inspect.signature(pnas.space) == inspect.signature(api.space)
    assert inspect.signature(pnas.search) == inspect.signature(api.search)
    for name in pnas.__all__:
        public = getattr(pnas, name)
        if name not in ("data", "applications"):
            rooms = {"fit": fitting.fit, "space": api.space, "search": api.search}
            function = rooms.get(name, public)
            assert "Args:" in function.__doc__, name
            assert "Raises:" in function.__doc__ or name == "quiet", name
            hints = inspect.signature(public).parameters.values()
            assert all(hint.annotation is not inspect.Parameter.empty for hint in hints), name


ROOT = Path(__file__).parents[1]
EXAMPLES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *ROOT.glob("examples/*.ipynb"),
]


def code_of(path):
    """The Python of a page or of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = [[line for line in cell["source"] if line[0] not in "!%"] for cell in cells]
        return ["".join(cell) for cell in lines]  # without those for the shell and for IPython
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


def test_examples_are_calls_that_there_are():
    """Every `pnas.` call of the README, the docs and the notebooks binds to its function's
    signature, and what they import is there."""
    nodes = [
        node for path in EXAMPLES for block in code_of(path) for node in ast.walk(ast.parse(block))
    ]
    calls = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("pnas.")
    ]
    assert len(calls) >= 25
    for call in calls:
        function = eval(ast.unparse(call.func), {"pnas": pnas})
        named = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(function).bind(*call.args, **named)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "pnas_tf":
            room = importlib.import_module(node.module)
            assert all(hasattr(room, alias.name) for alias in node.names), ast.unparse(node)
