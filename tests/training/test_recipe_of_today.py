"""AdamW, averaged weights, stochastic depth, mixed batches and distillation, each against its
equations; together they go on to the same bits."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import FROM_SCRATCH, OptimizerConfig, TrainConfig
from pnas_tf.data.image_data import from_arrays
from pnas_tf.errors import UserError
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.network import build_network
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS
from pnas_tf.run.signals import Stopped
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import FusedMBConv, MBConv, Zero
from pnas_tf.space.registry import named_space
from pnas_tf.training import step as steps
from pnas_tf.training.distillation import Teacher, distillation_loss
from pnas_tf.training.distribution import Distribution
from pnas_tf.training.forward import _Draw, check_depth, forward_of
from pnas_tf.training.loop import train_network
from pnas_tf.training.mixing import Mixing
from pnas_tf.training.optimizers import AdamW, MovedVariable, Now
from pnas_tf.training.recipe import TrainRecipe, tuning_of
from pnas_tf.training.step import TrainStep, smoothed_cross_entropy
from pnas_tf.training.weight_average import WeightAverage, restored

OPS = (MBConv(3, 2), FusedMBConv(3, 1))
SPACE = MBConvSpace("micro", 8, 3, 8, 0, (Stage(8, 2, 1),), 16, OPS, stem_stride=1)
ARCHITECTURE = Architecture(SPACE, OPS)


def network(architecture=ARCHITECTURE):
    model = build_network(architecture)
    model.set_weights(seeded_weights(model, seed=0))
    return model


def batch(count=8):
    generator = np.random.default_rng(1)
    images = generator.normal(size=(count, 8, 8, 3)).astype(np.float32)
    return tf.constant(images), tf.constant(generator.integers(0, 3, count).astype(np.int32))


def test_adamw_by_hand():
    """Three steps in float64; the kernel decays, the bias does not, and the second moves at half
    the rate. Where a gradient is not finite nothing moves."""
    generator = np.random.default_rng(0)
    starts = [generator.normal(size=size) for size in ((4, 3), (3,))]
    variables = [tf.Variable(start.astype(np.float32)) for start in starts]
    moved = [MovedVariable(variables[0], 1.0, True), MovedVariable(variables[1], 0.5, False)]
    optimizer = AdamW(moved, TrainConfig(adamw_weight_decay=0.1))
    means, squares = [0.0, 0.0], [0.0, 0.0]
    for number, rate in enumerate((0.1, 0.03, 0.2)):
        gradients = [generator.normal(size=start.shape) for start in starts]
        given = [tf.constant(gradient, tf.float32) for gradient in gradients]
        now = Now(tf.constant(rate), tf.constant(number), tf.constant(True))
        optimizer.move(given, now)
        for place, (gradient, share, decay) in enumerate(zip(gradients, (1.0, 0.5), (0.1, 0.0))):
            means[place] = 0.9 * means[place] + 0.1 * gradient
            squares[place] = 0.999 * squares[place] + 0.001 * gradient**2
            mean = means[place] / (1 - 0.9 ** (number + 1))
            square = squares[place] / (1 - 0.999 ** (number + 1))
            change = mean / (np.sqrt(square) + 1e-8) + decay * starts[place]
            starts[place] = starts[place] - rate * share * change
            # 1 - 0.999 has four digits in float32
            np.testing.assert_allclose(variables[place], starts[place], rtol=2e-4, atol=2e-5)
    kept = [each.numpy() for each in (*variables, *optimizer.slots)]
    infinite = [tf.fill(start.shape, np.float32(np.inf)) for start in starts]
    optimizer.move(infinite, Now(tf.constant(0.1), tf.constant(3), tf.constant(False)))
    for before, after in zip(kept, (*variables, *optimizer.slots), strict=True):
        np.testing.assert_array_equal(before, after)


def test_adamw_has_its_own_usual_rate():
    assert tuning_of(TrainConfig()).learning_rate == FROM_SCRATCH.learning_rate
    assert tuning_of(TrainConfig(train_optimizer="adamw")).learning_rate == pytest.approx(0.001)
    given = TrainConfig(train_optimizer="adamw", learning_rate=0.004)
    assert tuning_of(given).learning_rate == 0.004


def test_the_average_follows_every_weight_and_takes_its_place():
    model = network()
    average = WeightAverage(model, 0.6, Distribution())
    expected = [weight.astype(np.float64) for weight in model.get_weights()]
    for step in range(9):
        model.set_weights([weight + step + 1 for weight in model.get_weights()])
        average.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        own = model.get_weights()
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, own)]
    with restored(model):
        average.assign()
        for ours, theirs in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def forward(model, rate, *, seed=0, step=0, statistics=False):
    config = TrainConfig(stochastic_depth=rate)
    run = forward_of(model, config, seed=seed, replicas=1, statistics=statistics)
    return run(batch()[0], tf.constant(step)).numpy()


def test_a_block_that_all_skip_is_a_zero_op():
    """The last block survives with probability 1e-7; the first of two with one half: half of the
    images have twice its branch."""
    model, without = network(), {}
    for ops in ((OPS[0], Zero()), (Zero(), Zero())):
        other = build_network(Architecture(SPACE, ops))
        for layer in other.layers:
            layer.set_weights(model.get_layer(layer.name).get_weights())
        without[ops[0]] = other
    doubled = without[OPS[0]]
    projection = doubled.get_layer("block_00/project_bn")
    gamma, beta, mean, variance = projection.get_weights()
    projection.set_weights([2 * gamma, 2 * beta, mean, variance])
    skipped, kept = (without[op](batch()[0], training=False).numpy() for op in (Zero(), OPS[0]))
    seen = np.concatenate([forward(model, 1 - 1e-7, step=step) for step in range(32)])
    skips, keeps = (
        np.isclose(seen, np.tile(each, (32, 1)), rtol=1e-3, atol=1e-4).all(axis=1)
        for each in (skipped, kept)
    )
    assert (skips ^ keeps).all()
    # Of 256 images half, to 6 deviations of 8: 2e-9 false failures.
    assert abs(keeps.sum() - 128) < 48


def test_depth_of_a_space_without_blocks_to_skip_is_refused(pictures, tmp_path):
    chain = dataclasses.replace(SPACE, stages=(Stage(8, 2, 1, shortcuts=False),))
    tree = named_space("pyramid_tree", classes=3)
    config = TrainConfig(stochastic_depth=0.3)
    for space in (chain, tree):
        with pytest.raises(UserError, match=r"--stochastic_depth=0\.3"):
            check_depth(space, config)
        check_depth(space, TrainConfig())
    with pytest.raises(UserError, match=r"--stochastic_depth=0\.3"):
        train_network(Architecture(chain, OPS), pictures, TrainRecipe(config), tmp_path)
    check_depth(SPACE, config)  # whatever a network of it skips
    assert not list(tmp_path.iterdir())


def test_depth_that_skips_nothing_is_the_plain_network():
    model = network()
    for statistics in (False, True):
        plain = model(batch()[0], training=statistics).numpy()
        np.testing.assert_allclose(forward(model, 1e-9, statistics=statistics), plain, atol=1e-5)
    assert np.array_equal(forward(model, 0.5, step=3), forward(model, 0.5, step=3))
    assert not np.array_equal(forward(model, 0.5, step=3), forward(model, 0.5, step=4))
    assert not np.array_equal(forward(model, 0.5, step=3), forward(model, 0.5, step=3, seed=1))


@pytest.mark.parametrize("options", [{"mixup": 0.3}, {"cutmix": 1.0}, {"mixup": 1, "cutmix": 1}])
def test_targets_are_the_shares_of_pixels(options):
    """Image i is all i: a pixel's mean value says whose pixels it holds."""
    count = 8
    mixing = Mixing(TrainConfig(**options), classes=count, seed=5)
    values = np.arange(count, dtype=np.float32)
    images = tf.constant(np.broadcast_to(values[:, None, None, None], (count, 9, 7, 3)))
    labels = tf.constant(np.arange(count, dtype=np.int32))
    kinds = set()
    for step in range(12):
        mixed, targets = mixing(images, labels, step=step)
        again, _ = mixing(images, labels, step=step)
        np.testing.assert_array_equal(mixed, again)
        np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1.0, rtol=1e-6)
        means = tf.reduce_mean(mixed, axis=(1, 2, 3))
        np.testing.assert_allclose(means, targets.numpy() @ values, rtol=1e-4, atol=1e-4)
        kinds.add("mixup" if len(np.unique(mixing.keeps(step, 9, 7))) == 1 else "cutmix")
    assert set(options) <= kinds  # a rectangle may also be all or nothing
    same = Mixing(TrainConfig(), classes=count, seed=5)(images, labels, step=0)
    assert same[0] is images and same[1] is labels


def test_the_area_of_a_rectangle_follows_beta():
    """Alpha 1: the part that is cut before the border is uniform, 0.5 on average; clipped at the
    border its mean is smaller: 1,000 draws against the integral over parts and places, to 6
    standard errors of at most 0.009."""
    mixing, size = Mixing(TrainConfig(cutmix=1.0), classes=2, seed=0), 64
    cut = np.mean([1 - mixing.keeps(step, size, size).mean() for step in range(1000)])
    sides = np.sqrt((np.arange(400) + 0.5) / 400)  # of equally likely parts
    middles = (np.arange(400) + 0.5) / 400
    seen = np.minimum(1, middles + sides[:, None] / 2) - np.maximum(0, middles - sides[:, None] / 2)
    assert cut == pytest.approx((seen.mean(axis=1) ** 2).mean(), abs=6 * 0.009)


def test_a_loss_of_shares_is_the_mean_of_the_losses_of_labels():
    generator = np.random.default_rng(0)
    logits = tf.constant(generator.normal(size=(6, 4)), tf.float32)
    first, second = (tf.constant(generator.integers(0, 4, 6), tf.int32) for _ in range(2))
    shares = 0.3 * tf.one_hot(first, 4) + 0.7 * tf.one_hot(second, 4)
    of_shares, *of_labels = (
        smoothed_cross_entropy(logits, labels, smoothing=0.1).numpy()
        for labels in (shares, first, second)
    )
    assert of_shares == pytest.approx(0.3 * of_labels[0] + 0.7 * of_labels[1], rel=1e-5)


def test_distillation_is_the_divergence_and_matches_logits_when_hot():
    """T^2 KL by hand; at a high temperature its gradient is that of half the squared difference of
    centred logits over the classes (Hinton et al. 2015, section 2.1)."""
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 5, 4))

    def softmax(logits):
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)

    theirs, ours = softmax(teacher / 3), softmax(student / 3)
    expected = 9 * (theirs * np.log(theirs / ours)).sum(axis=1).mean()
    logits = tf.constant(student, tf.float32)
    given = tf.constant(teacher, tf.float32)
    assert float(distillation_loss(logits, given, temperature=3.0)) == pytest.approx(
        expected, rel=1e-4
    )
    assert float(distillation_loss(logits, logits, temperature=3.0)) == pytest.approx(0, abs=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = distillation_loss(logits, given, temperature=100.0)
    centred = [each - each.mean(axis=1, keepdims=True) for each in (student, teacher)]
    np.testing.assert_allclose(
        tape.gradient(loss, logits), (centred[0] - centred[1]) / 4 / 5, atol=2e-3
    )


@pytest.mark.slow
def test_a_step_learns_from_the_teacher_by_its_weight():
    images, labels = batch()
    logits = tf.constant(np.random.default_rng(2).normal(size=(8, 3)), tf.float32)
    losses = []
    for weight in (0.0, 1.0, 0.25):
        step = TrainStep(
            network(), OptimizerConfig(), train=TrainConfig(distillation_weight=weight)
        )
        loss, _ = step(images, labels, learning_rate=0.1, step=0, teacher_logits=logits)
        losses.append(loss)
    plain, _ = TrainStep(network(), OptimizerConfig())(images, labels, learning_rate=0.1, step=0)
    assert losses[0] == pytest.approx(plain, rel=1e-6)
    assert losses[2] == pytest.approx(0.75 * losses[0] + 0.25 * losses[1], rel=1e-5)


EVERYTHING = TrainConfig(
    epochs=3,
    batch_size=8,
    head_epochs=1,
    evaluate_epochs=1,
    dropout=0.1,
    train_optimizer="adamw",
    ema_decay=0.9,
    randaugment_layers=2,
    mixup=0.2,
    cutmix=1.0,
    stochastic_depth=0.3,
    teacher="a test's",
)


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    return from_arrays(images, np.arange(60) % 3, ["ant", "bee", "fly"]).at(8)


@pytest.fixture(scope="module")
def recipe():
    taught = network()
    teacher = Teacher(lambda images: taught(images, training=False), "its weights", "a test")
    return TrainRecipe(EVERYTHING, seed=2, teacher=teacher)


@pytest.fixture(scope="module")
def straight(pictures, recipe, tmp_path_factory):
    """Every option together, without interruption."""
    return train_network(ARCHITECTURE, pictures, recipe, tmp_path_factory.mktemp("straight"))


@pytest.mark.slow
def test_stopped_with_every_option_it_goes_on_to_the_same_bits(
    pictures, recipe, straight, tmp_path, monkeypatch
):
    """Twice: in the epoch of the classifier alone, and in the next one."""
    for stops_at in (3, 9):
        whole = steps.TrainStep.__call__

        def interrupted(self, *arguments, last=stops_at, whole=whole, **named):
            if named["step"] == last:
                os.kill(os.getpid(), signal.SIGTERM)
            return whole(self, *arguments, **named)

        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(steps.TrainStep, "__call__", interrupted)
            train_network(ARCHITECTURE, pictures, recipe, tmp_path)
        assert Checkpoints(tmp_path / CHECKPOINTS).latest().step == stops_at + 1
    continued = train_network(ARCHITECTURE, pictures, recipe, tmp_path)
    assert continued.history == straight.history
    ours, theirs = (each.model.get_weights() for each in (continued, straight))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_what_is_kept_is_the_average_that_was_evaluated(pictures, straight):
    from pnas_tf.training.evaluate import evaluate

    result = evaluate(straight.model, pictures.test_batches(batch_size=8))
    assert straight.history[-1]["test_loss"] == pytest.approx(result.loss, rel=1e-6)


def test_statistics_of_an_average_are_reestimated_where_it_is_kept(pictures, tmp_path):
    """They were thrown away with the weights that training goes on from."""
    from pnas_tf.training.evaluate import evaluate

    config = TrainConfig(
        epochs=2, batch_size=8, ema_decay=0.5, train_batch_norm="reestimated", learning_rate=0.2
    )
    found = train_network(ARCHITECTURE, pictures, TrainRecipe(config), tmp_path)
    result = evaluate(found.model, pictures.test_batches(batch_size=8))
    assert found.history[-1]["test_loss"] == pytest.approx(result.loss, rel=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_dropout_of_a_replica_is_of_its_own_precision(dtype):
    draw = _Draw(seed=0, step=tf.constant(3), size=tf.constant(4), replicas=2)
    found = draw.dropped(tf.ones([4, 8], dtype), 0.5)
    assert found.dtype == dtype and set(np.unique(tf.cast(found, tf.float32))) <= {0.0, 2.0}


def test_no_option_compiles_a_step_twice(pictures, recipe):
    model = network()
    step = TrainStep(model, OptimizerConfig(), train=EVERYTHING)
    mixing = Mixing(EVERYTHING, classes=3, seed=0)
    for number in range(4):
        images, shares = mixing(*batch(), step=number)
        logits = recipe.teacher.logits(images)
        step(images, shares, learning_rate=0.01, step=number, teacher_logits=logits)
    assert step._compiled.experimental_get_tracing_count() == 1
    assert mixing._mixed.experimental_get_tracing_count() == 1
    assert isinstance(model, keras.Model)
