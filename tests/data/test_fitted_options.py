"""Options that the number of images chooses: the usual ones where there are enough, whole batches
and as much training where there are few."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnas_tf.config import (
    PRESETS,
    DataConfig,
    DeriveConfig,
    ExportConfig,
    SearchConfig,
    TrainConfig,
)
from pnas_tf.data.fitted_options import (
    batch_size,
    check_demands,
    demands_of,
    fitted_export,
    fitted_options,
    search_sizes,
    search_tuning_of,
)
from pnas_tf.data.split import SplitSizes, split_positions, split_sizes
from pnas_tf.errors import UserError
from pnas_tf.run.step import Demand
from pnas_tf.search.schedule import check_schedule
from pnas_tf.training.recipe import tuning_of

KINDS = (SearchConfig, DeriveConfig, TrainConfig)
DIGITS = SplitSizes(train=1150, validation=287, test=360)


def fitted(kind, sizes, **options):
    return fitted_options(kind(**options), sizes)


def test_the_usual_values_where_there_are_images_enough():
    search, derive, train = (fitted(kind, DIGITS) for kind in KINDS)
    assert (search.search_batch_size, search.arch_batch_size) == (64, 64)
    assert (search.warmup_epochs, search.search_epochs) == (15, 25)
    assert (derive.derive_batch_size, derive.derive_train_epochs) == (64, 0.5)
    assert (train.batch_size, train.epochs) == (64, 30)


def test_alpha_is_trained_in_a_search_of_one_epoch():
    """Unless told otherwise; one in which it never is, is refused."""
    assert search_tuning_of(SearchConfig(search_epochs=1)).arch_start_epoch == 0
    assert search_tuning_of(SearchConfig(search_epochs=2)).arch_start_epoch == 1
    many = SplitSizes(10_000, 2_500, 0)
    check_schedule(SearchConfig(search_epochs=1), many)
    check_schedule(SearchConfig(search_epochs=1, arch_start_epoch=1, algorithm="one_shot"), many)
    with pytest.raises(UserError, match="no epoch in which alpha is trained"):
        check_schedule(SearchConfig(search_epochs=2, arch_start_epoch=2), many)


def test_200_photographs_in_5_classes():
    sizes = split_sizes(200, DataConfig(), classes=5, test_images=None)
    assert (sizes.train, sizes.validation, sizes.test) == (128, 32, 40)
    search, derive, train = (fitted(kind, sizes) for kind in KINDS)
    assert (derive.derive_batch_size, derive.derive_train_epochs) == (16, 1.06)
    assert (search.search_batch_size, search.arch_batch_size) == (16, 16)
    assert (search.warmup_epochs, search.search_epochs) == (32, 54)
    assert (train.batch_size, train.epochs) == (16, 51)
    assert (search.warmup_learning_rate, search.search_learning_rate) == (0.05, 0.025)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 512), st.sampled_from([None, "pretrained", "inherit", "scratch"]))
def test_rates_that_are_not_given_follow_the_batch(size, init):
    """k times the images a step, k times the rate (Goyal et al. 2017, section 2.1), up to the usual
    64, from scratch by SGD with a warm-up up to 256, whatever chose the batch; a rate that is named
    stays."""
    many, k = SplitSizes(40_000, 10_000, 0), min(size, 64) / 64
    usual = {"pretrained": 0.005, "inherit": 0.02}.get(init, 0.05)
    train = fitted(TrainConfig, many, batch_size=size, init=init)
    up = k if usual < 0.05 else min(size, 256) / 64
    assert train.learning_rate == tuning_of(train).learning_rate == pytest.approx(usual * up)
    for other in ({"train_optimizer": "adamw"}, {"learning_rate_warmup_epochs": 0.0}):
        rate = fitted(TrainConfig, many, batch_size=size, init=init, **other).learning_rate
        assert rate == pytest.approx(usual * k * (0.02 if "train_optimizer" in other else 1))
    start = "pretrained" if init == "pretrained" else None
    search = fitted(SearchConfig, many, search_batch_size=size, weights_init=start)
    rates = (search.warmup_learning_rate, search.search_learning_rate)
    assert rates == pytest.approx((0.05 * k, 0.05 * k) if start else (0.2 * k, 0.1 * k))
    tuning = search_tuning_of(search)
    assert (tuning.warmup_learning_rate, tuning.search_learning_rate) == rates
    assert tuning.arch_learning_rate == (0.1 if start else 0.05)  # Adam's, which is another matter
    derive = fitted(DeriveConfig, many, derive_batch_size=size)
    assert derive.derive_learning_rate == pytest.approx(0.025 * k)
    export = fitted_export(ExportConfig(quantize="qat"), train, many)
    assert export.finetune_learning_rate == pytest.approx(0.02 * k)
    assert fitted(TrainConfig, many, batch_size=size, learning_rate=0.3).learning_rate == 0.3
    named = fitted(SearchConfig, many, search_batch_size=size, warmup_learning_rate=0.3)
    assert (named.warmup_learning_rate, named.search_learning_rate) == (0.3, pytest.approx(0.1 * k))


@pytest.mark.parametrize("images, epochs", [(1437, 2), (1088, 2), (160, 4), (32, 9)])
def test_compression_trains_for_as_many_steps_of_few_images(images, epochs):
    """At least the 34 steps that 2 epochs of 17 have. Without compression nothing is chosen."""
    sizes = SplitSizes(images - images // 5, images // 5, 0)
    train = fitted(TrainConfig, sizes)
    for way in ({"quantize": "qat"}, {"prune": 0.5}, {"cluster": 16}):
        found = fitted_export(ExportConfig(**way), train, sizes)
        assert found.finetune_epochs == epochs
        assert epochs * (images // train.batch_size) >= 34
        given = ExportConfig(finetune_epochs=1, finetune_learning_rate=0.01, **way)
        assert fitted_export(given, train, sizes) == given
    assert fitted_export(ExportConfig(), train, sizes) == ExportConfig()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_stays(kind):
    preset = PRESETS["published"][kind]
    config = kind(**preset)
    again = dataclasses.asdict(fitted_options(config, SplitSizes(20, 9, 9)))
    assert {name: again[name] for name in preset} == preset
    assert fitted_options(fitted(kind, DIGITS), SplitSizes(20, 9, 9)) == fitted(kind, DIGITS)


@settings(max_examples=200, deadline=None)
@given(st.integers(40, 4000), st.integers(2, 12), st.booleans(), st.sampled_from([1, 2, 3, 4]))
def test_every_batch_is_whole_and_short_epochs_are_more(images, classes, has_test, replicas):
    config = DataConfig()
    sizes = split_sizes(images, config, classes=classes, test_images=50 if has_test else None)
    labels = np.arange(images) % classes
    names = tuple(map(str, range(classes)))
    train, validation, test = split_positions(labels, names, config, has_test=has_test)
    assert (len(train), len(validation)) == (sizes.train, sizes.validation)
    assert has_test or len(test) == sizes.test
    for split in (train, validation, *(() if has_test else (test,))):
        assert len(set(labels[split])) == classes
    for algorithm in ("two_path", "reinforce"):
        search = SearchConfig(algorithm=algorithm)
        found = search_sizes(search, sizes, replicas=replicas)
        check_demands(demands_of(search, found), sizes, dataset="any")
        assert all(size % replicas == 0 for size in found.batches)
        steps = sizes.train // found.batch_size
        assert steps * found.warmup_epochs >= min(15 * 17, 15 * steps)
        assert steps * found.search_epochs >= min(25 * 17, 25 * steps)
    assert batch_size(None, sizes.train) <= sizes.train


@pytest.mark.parametrize("split, there", [("train", 128), ("validation", 32), ("combined", 160)])
def test_a_batch_that_is_larger_than_its_split_is_refused_with_numbers(split, there):
    sizes = SplitSizes(128, 32, 40)
    check_demands([Demand(split, "some_batch", there)], sizes, dataset="photos")
    check_demands([Demand(split, "some_batch", None)], sizes, dataset="photos")
    with pytest.raises(UserError, match="smaller than one batch") as error:
        check_demands([Demand(split, "some_batch", there + 1)], sizes, dataset="photos")
    assert f"--some_batch={there + 1}" in error.value.expected
    assert str(there) in error.value.received and "128 train, 32 validation" in error.value.received
    advised = int(error.value.fix.split("--some_batch=")[1].split(",")[0])
    check_demands([Demand(split, "some_batch", advised)], sizes, dataset="photos")


@pytest.mark.parametrize("has_test, needed", [(False, 3), (True, 2)])
def test_a_class_needs_an_image_for_each_split(has_test, needed):
    names = ("common", "rare", "scarce")

    def split(rare):
        labels = np.repeat([0, 1, 2], [60, rare, rare])
        return split_positions(labels, names, DataConfig(), has_test=has_test)

    for part in split(needed)[: 2 if has_test else 3]:
        assert len(part) >= 3
    with pytest.raises(UserError, match="too few images in 2 of the 3 classes") as error:
        split(needed - 1)
    assert f"'rare': {needed - 1}" in error.value.received
    assert f"at least {needed} images of each class" in error.value.expected


def test_a_validation_split_that_is_not_there_is_refused_by_count():
    with pytest.raises(UserError, match="validation split") as error:
        split_sizes(200, DataConfig(alpha_size=50_000), classes=5, test_images=None)
    assert "50000 of 160" in error.value.received and "--alpha_size" in error.value.fix
