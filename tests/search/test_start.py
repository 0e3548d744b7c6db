"""A search that starts from pretrained weights: what it takes over, writes down and refuses, and
that a stopped one goes on to the same bits."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import SIZE, SPACE, FarPixels

from pnas_tf.config import SEARCH_FROM_PRETRAINED, SEARCH_FROM_SCRATCH, SearchConfig, SpaceConfig
from pnas_tf.data.dataset import Normalization
from pnas_tf.data.fitted_options import search_sizes, search_tuning_of
from pnas_tf.data.run_space import space_for
from pnas_tf.data.split import SplitSizes
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import InputNormalisation, weights_of_network
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import START
from pnas_tf.search.api import search_architecture
from pnas_tf.search.loop import Search
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.start import fitted_start, save_start, source_of_start, start_lines, start_of
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import named_space
from pnas_tf.supernet.reconstruction import losses
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.distribution import Distribution

CONFIG = SearchConfig(warmup_epochs=1, search_epochs=1, search_batch_size=16)


def source_of(op):
    space = dataclasses.replace(SPACE, classes=7, candidates=(op,))
    return Architecture(space, (op,) * len(space.choice_blocks))


SOURCE = source_of(MBConv(3, 2))


class Photographs(FarPixels):
    """With what a dataset of files knows besides."""

    class_names = ("across", "along")
    normalization = Normalization()


@pytest.fixture(scope="module")
def weights():
    return learnt_before()


def learnt_before(source=SOURCE):
    return weights_of_network(
        build_network(source),
        source,
        input=InputNormalisation.of(127.0, 128.0),
        bn_epsilon=1e-3,
        class_names=None,
        source="another task",
    )


def search(weights, folder):
    recipe = SearchRecipe(CONFIG, seed=5, pretrained=weights).started()
    data = Photographs(64, seed=1)
    start = start_of(SPACE, data, recipe)
    return Search(
        Supernet(SPACE, recipe.config, seed=5, start=start),
        data,
        SearchTargets((Target(macs_quantity(SPACE), 1e6),), recipe.config),
        recipe,
        folder=folder,
    )


@pytest.mark.slow
def test_a_stopped_search_goes_on_to_the_same_bits(weights, tmp_path):
    """From its first checkpoint, and whatever else the supernet would start from."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    search(weights, whole).run()
    end = Checkpoints(whole / "checkpoints").latest()
    shutil.copytree(whole, again)
    checkpoints = sorted((again / "checkpoints").glob("step-*.npz"))
    assert len(checkpoints) > 1
    for path in checkpoints[1:]:
        path.unlink()
    search(weights, again).run()
    found = Checkpoints(again / "checkpoints").latest()
    assert found.step == end.step
    for name, values in end.arrays.items():
        assert found.arrays[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize(
    "options", [{}, {"alpha_init": "uniform"}, {"algorithm": "one_shot"}, {"alpha_init": "normal"}]
)
def test_alpha_starts_by_what_candidates_lose_unless_told_otherwise(weights, options):
    config = dataclasses.replace(CONFIG, alpha_reconstruction=4.0, **options)
    recipe = SearchRecipe(config, seed=5, pretrained=weights).started()
    data = Photographs(64, seed=1)
    start = start_of(SPACE, data, recipe)
    supernet = Supernet(SPACE, recipe.config, seed=5, start=start)
    fitted = fitted_start(start, data, recipe)
    alphas = [fitted[f"{mixed_op.name}/alpha"] for mixed_op in supernet.mixed_ops]
    if options:
        for alpha, drawn in zip(alphas, supernet.alphas, strict=True):
            np.testing.assert_array_equal(alpha, drawn.numpy())
        return
    for name, variable in supernet.named_variables().items():
        variable.assign(fitted[name])
    images, _ = next(iter(data.train_unaugmented(batch_size=64)))
    for index, lost in losses(supernet, start, images).items():
        alpha = alphas[index]
        np.testing.assert_allclose(alpha[:, None] - alpha, 4 * (lost - lost[:, None]), atol=1e-5)
        assert np.ptp(lost) > 0


def test_a_supernet_says_nothing_of_alpha(weights):
    """Each of its candidates computes its own: none speaks against the others."""
    others = learnt_before(source_of(MBConv(7, 2)))
    choices = tuple(one + two for one, two in zip(weights.choices, others.choices, strict=True))
    space = dataclasses.replace(SOURCE.space, candidates=(MBConv(3, 2), MBConv(7, 2)))
    supernet = dataclasses.replace(weights, space=space, choices=choices)
    recipe = SearchRecipe(CONFIG, seed=5, pretrained=supernet).started()
    data = Photographs(64, seed=1)
    fitted = fitted_start(start_of(SPACE, data, recipe), data, recipe)
    for mixed_op in Supernet(SPACE, recipe.config, seed=5).mixed_ops:
        np.testing.assert_array_equal(fitted[f"{mixed_op.name}/alpha"], mixed_op.alpha.numpy())
    for name, value in (("alpha_init", "reconstruction"), ("alpha_reconstruction", 99.0)):
        asked = dataclasses.replace(CONFIG, **{name: value})
        with pytest.raises(UserError, match=f"--{name}="):
            start_of(SPACE, data, SearchRecipe(asked, pretrained=supernet).started())


@pytest.mark.parametrize(
    "options, replicas, words",
    [
        ({"arch_interval": 10_000}, 1, "--arch_interval=10000"),
        ({"search_batch_size": 128}, 1, "smaller than one batch"),
        ({"arch_batch_size": 17}, 2, "--arch_batch_size"),
    ],
)
def test_a_search_is_refused_before_anything_is_fitted(
    weights, tmp_path, monkeypatch, options, replicas, words
):
    monkeypatch.setattr("pnas_tf.search.api.fitted_start", lambda *_: pytest.fail("fitted"))
    recipe = SearchRecipe(dataclasses.replace(CONFIG, **options), pretrained=weights)
    devices = Distribution(replicas=Replicas(("a", "b")[:replicas], replicas))
    with pytest.raises(UserError, match=words):
        search_architecture(
            SPACE, Photographs(64), None, recipe, folder=tmp_path, distribution=devices
        )


@pytest.mark.parametrize("first", [0, 1])
def test_the_chief_alone_writes_what_a_search_starts_from(weights, tmp_path, monkeypatch, first):
    class Begun(Exception):
        pass

    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr("pnas_tf.search.api.fitted_start", lambda *_: {})
    monkeypatch.setattr("pnas_tf.search.api.search_identity", lambda *_, **__: "")
    monkeypatch.setattr("pnas_tf.search.api.Supernet", begin)
    recipe = SearchRecipe(dataclasses.replace(CONFIG, objective="macs"), pretrained=weights)
    devices = Distribution(replicas=Replicas(("a",), 2, first))
    with pytest.raises(Begun):
        search_architecture(
            SPACE, Photographs(64), None, recipe, folder=tmp_path, distribution=devices
        )
    assert (tmp_path / START).exists() == (first == 0)


ON_TWO_DEVICES = """
import sys
from pnas_tf.config import DistributionConfig
from pnas_tf.training.distribution import start
devices = start(DistributionConfig(strategy="mirrored", replicas=2))
import dataclasses, numpy as np
import test_start
from pnas_tf.search.api import search_architecture
config = dataclasses.replace(
    test_start.CONFIG, objective="macs", target_value=4e5, warmup_learning_rate=0.0,
    search_learning_rate=0.0, arch_learning_rate=0.0
)
class Photographs(test_start.Photographs):
    fingerprint = "far"
recipe = test_start.SearchRecipe(config, seed=5, pretrained=test_start.learnt_before())
data = Photographs(64, seed=1)
found = search_architecture(
    test_start.SPACE, data, None, recipe, folder=sys.argv[1], distribution=devices
)
recipe = recipe.started()
fitted = test_start.fitted_start(test_start.start_of(test_start.SPACE, data, recipe), data, recipe)
held = test_start.Checkpoints(sys.argv[1] + "/checkpoints").latest().arrays
for name, value in fitted.items():
    if "moving" not in name:
        np.testing.assert_array_equal(held["variable/" + name], value, err_msg=name)
"""


@pytest.mark.slow
def test_several_devices_start_from_what_one_has_fitted(tmp_path):
    places = os.pathsep.join(path for path in sys.path if path)
    ended = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, str(tmp_path / "search")],
        env={**os.environ, "PYTHONPATH": places},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_the_weights_are_for_the_images_that_the_search_sees(weights):
    """The stem of the supernet gives (pixel - 127.5) / 127.5 what that of the source gives
    (pixel - 127) / 128, away from the border."""
    recipe = SearchRecipe(CONFIG, pretrained=weights).started()
    start = start_of(SPACE, Photographs(8), recipe)
    stem = start.arrays_of(SPACE.fixed_blocks()[0])
    source = weights.fixed["stem"].arrays
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 3, 3))

    def output(arrays, images):
        y = np.einsum("hwi,hwio->o", images, arrays["conv/kernel"])
        centred = y - arrays["conv_bn/moving_mean"]
        return centred / np.sqrt(arrays["conv_bn/moving_variance"] + 1e-3)

    np.testing.assert_allclose(
        output(stem, (pixels - 127.5) / 127.5),
        output(source, (pixels - 127.0) / 128.0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_what_was_taken_over_is_told_and_kept(weights, tmp_path):
    recipe = SearchRecipe(CONFIG, pretrained=weights).started()
    told = start_lines(SPACE, Photographs(8), recipe)
    assert "another task" in told[0]
    assert "of 3 candidates 2 compute what theirs compute, 1 start from the part" in told[0]
    assert [line.strip() for line in told[1:]] == [
        "new: classifier of 2 classes, in the place of 7 others",
        "stem: images are (pixel - 127.5) / 127.5 in the place of (pixel - 127) / 128",
    ]
    start = start_of(SPACE, Photographs(8), recipe)
    document = json.loads(save_start(start, weights, tmp_path).read_text())
    assert document["changed"] == [told[2].strip()]
    rows = {(row["block"], row["op"]): row for row in document["blocks"]}
    assert rows["block_00", "mbconv_k7_e2"]["from"] == "block_00 mbconv_k3_e2"
    assert rows["block_00", "mbconv_k7_e2"]["function"] == "kept"
    assert rows["block_00", "mbconv_k1_e2"]["function"] == "approximated"
    assert source_of_start(tmp_path) == "another task" and source_of_start(tmp_path / "a") is None
    drawn = SearchRecipe(SearchConfig(weights_init="he_fout"), pretrained=weights).started()
    assert start_lines(SPACE, Photographs(8), drawn) == []


def test_fixed_blocks_and_padding_that_are_others_are_told(weights):
    """As of --width=0.5, where no channel of theirs is all there."""
    narrow = dataclasses.replace(SPACE, stem_width=4, padding="symmetric")
    recipe = SearchRecipe(CONFIG, pretrained=weights).started()
    told = start_lines(narrow, Photographs(8), recipe)
    assert any(
        "fixed blocks" in line and "the part of theirs that matters" in line for line in told
    )
    assert told[-1].strip() == "padding is symmetric in the place of same"


def test_the_classifier_is_kept_where_the_classes_are_the_same(weights):
    for names, kept in ((Photographs.class_names, True), (("along", "across"), False)):
        known = dataclasses.replace(
            weights,
            class_names=names,
            space=dataclasses.replace(weights.space, classes=2),
        )
        start = start_of(SPACE, Photographs(8), SearchRecipe(CONFIG, pretrained=known).started())
        assert start.keep_classifier is kept


def test_options_left_open_follow_the_start():
    pretrained = SearchConfig(weights_init="pretrained")
    many = SplitSizes(10_000, 2_500, 0)
    for config, usual in (
        (SearchConfig(), SEARCH_FROM_SCRATCH),
        (SearchConfig(weights_init="he_fout"), SEARCH_FROM_SCRATCH),
        (pretrained, SEARCH_FROM_PRETRAINED),
    ):
        assert search_tuning_of(config) == usual
        sizes = search_sizes(config, many)
        assert (sizes.warmup_epochs, sizes.search_epochs) == usual[:2]
    given = dataclasses.replace(pretrained, search_learning_rate=0.0, warmup_epochs=0)
    assert search_tuning_of(given)[0] == search_tuning_of(given)[3] == 0
    assert search_sizes(given, many).warmup_epochs == 0


def test_a_recipe_starts_from_what_it_has(weights):
    assert SearchRecipe().started().config.weights_init is None
    assert SearchRecipe(pretrained=weights).started().config.weights_init == "pretrained"
    random = SearchRecipe(SearchConfig(weights_init="he_fout"), pretrained=weights)
    assert start_of(SPACE, Photographs(8), random.started()) is None
    for asked in (
        {"weights_init": "pretrained"},
        {"alpha_init": "reconstruction"},
        {"alpha_reconstruction": 20.0},
    ):
        with pytest.raises(UserError, match="--pretrained=imagenet"):
            SearchRecipe(SearchConfig(**asked)).started()
        SearchRecipe(SearchConfig(**asked), pretrained=weights).started()
    others = SearchConfig(weights_init="he_fout", alpha_init="reconstruction")
    with pytest.raises(UserError, match="--alpha_init=reconstruction") as refused:
        SearchRecipe(others, pretrained=weights).started()
    assert refused.value.received == "--weights_init=he_fout"


def test_the_size_of_the_images_does_not_matter(weights):
    small = dataclasses.replace(SPACE, resolution=SIZE // 2)
    start = start_of(small, Photographs(8), SearchRecipe(CONFIG, pretrained=weights).started())
    kernel = start.arrays_of(small.fixed_blocks()[1])["depthwise/kernel"]
    np.testing.assert_array_equal(kernel, weights.fixed["first"].arrays["depthwise/kernel"])


def test_the_usual_space_is_one_that_there_are_weights_for():
    for side, images, pretrained, name, pixels in (
        (200, 5_000, True, "lite", 224),
        (200, 5_000, False, "proxyless", 224),
        (200, 4_999, True, "lite", 96),
        (49, 160, False, "tiny", 64),
        (48, 160, True, "lite", 64),
        (32, 50_000, True, "lite", 64),
        (48, 5_000, False, "tiny", 32),
    ):
        facts = SimpleNamespace(short_side=side, class_names=("a", "b"), training_examples=images)
        space = space_for(facts, SpaceConfig(), pretrained=pretrained)
        assert (space.name, space.resolution) == (name, pixels)
        asked = space_for(facts, SpaceConfig(resolution=80, width=0.5), pretrained=pretrained)
        assert asked == named_space(name, classes=2, resolution=80, width=0.5)
        own = space_for(facts, SpaceConfig("proxyless"), pretrained=pretrained)
        assert own == named_space("proxyless", classes=2)


@pytest.mark.parametrize(
    ("side", "images", "learnt_at", "pixels"),
    [
        (28, 160, 32, 32),
        (32, 50_000, 224, 64),
        (200, 160, 32, 96),
        (200, 160, 224, 96),
        (200, 5_000, 32, 96),
        (200, 5_000, 128, 128),
    ],
)
def test_the_space_of_a_search_goes_on_at_a_size_for_the_images(side, images, learnt_at, pixels):
    facts = SimpleNamespace(short_side=side, class_names=("a", "b"), training_examples=images)
    searched = named_space("cifar", classes=10, resolution=learnt_at)
    theirs = space_for(facts, SpaceConfig(width=2), pretrained=True, searched=searched)
    assert theirs == named_space("cifar", classes=2, resolution=pixels).with_width(2)
    asked = space_for(facts, SpaceConfig(resolution=80), pretrained=True, searched=searched)
    assert asked.resolution == 80
