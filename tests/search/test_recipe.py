"""What a search is known by, and what of it is refused before it begins."""

import dataclasses
from types import SimpleNamespace

import pytest

from pnas_tf.config import DeviceConfig, SearchConfig
from pnas_tf.data.split import SplitSizes
from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.options import check_heeded
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe, search_identity
from pnas_tf.search.schedule import check_schedule
from pnas_tf.search.targets import Target
from pnas_tf.space.mbconv import tiny
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import Replicas

SPACE = tiny()
MACS = macs_quantity(SPACE)
IMAGES = {"train": 1000, "validation": 250}
DATA = SimpleNamespace(
    fingerprint="images",
    steps_per_epoch=lambda split, *, batch_size: IMAGES[split] // batch_size,
)
PHONE = DeviceConfig(device="android:2")


def identity(config=SearchConfig(), quantity=MACS, numerics=Numerics(), **recipe):
    targets = [Target(quantity, 1e6)]
    return search_identity(SPACE, DATA, SearchRecipe(config, **recipe), targets, numerics=numerics)


def test_whatever_decides_the_result_is_another_search():
    on_device = SearchConfig(algorithm="reinforce", rl_latency="device")
    known = [
        identity(),
        identity(seed=1),
        identity(SearchConfig(algorithm="reinforce")),
        identity(on_device),
        identity(on_device, device=PHONE),
        *(
            identity(quantity=dataclasses.replace(MACS, **{name: 2 * getattr(MACS, name) + 1}))
            for name in ("fixed", "slope", "intercept")
        ),
        identity(numerics=Numerics(precision="bfloat16")),
        identity(numerics=Numerics(replicas=Replicas(("a", "b", "c"), 3))),  # 63 images a step
        identity(numerics=Numerics(Normalisation(synchronized=True))),
    ]
    assert len(set(known)) == len(known)


def test_what_decides_nothing_is_the_same_search():
    assert identity(device=PHONE) == identity()  # which measures nothing
    assert identity(SearchConfig(keep_checkpoints=9)) == identity()
    assert identity(numerics=Numerics(replicas=Replicas(("a", "b"), 2))) == identity()


@pytest.mark.parametrize("images", [64, 64_000])
@pytest.mark.parametrize("start", [None, 0, 10, 24, 25, 30, 53, 54, 400])
def test_alpha_starts_within_the_epochs_that_there_are(images, start):
    """More epochs of few images: 54 of 64 images, 25 of many."""
    config = SearchConfig(arch_start_epoch=start)
    epochs = {64: 54, 64_000: 25}[images]
    if start is None or start < epochs:
        check_schedule(config, SplitSizes(images, images, 0))
    else:
        with pytest.raises(UserError, match=f"--arch_start_epoch={start}") as refused:
            check_schedule(config, SplitSizes(images, images, 0))
        assert str(epochs) in refused.value.expected
    check_schedule(dataclasses.replace(config, algorithm="one_shot"), SplitSizes(images, images, 0))


def test_steps_of_alpha_further_apart_than_the_search_is_long_are_refused():
    images, rare = SplitSizes(1000, 250, 0), SearchConfig(arch_interval=10_000)
    with pytest.raises(UserError, match="--arch_interval=10000"):
        check_schedule(rare, images)
    check_schedule(dataclasses.replace(rare, algorithm="one_shot"), images)
    check_schedule(dataclasses.replace(rare, arch_interval=2), images)


@pytest.mark.parametrize("start", ["normal", "uniform"])
def test_a_strength_beside_another_start_of_alpha_does_nothing(start):
    asked = SearchConfig(alpha_reconstruction=99.0)
    check_heeded(asked)
    with pytest.raises(UserError, match="--alpha_reconstruction=99"):
        check_heeded(dataclasses.replace(asked, alpha_init=start))
