"""The networks as Keras applications: published sizes, weights in and out, and backbones in someone
else's model."""

import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

import pnas_tf
from pnas_tf import applications
from pnas_tf.config import OptimizerConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run.settings import with_settings, write_config
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage, tiny
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.space.published import PUBLISHED
from pnas_tf.space.registry import named_space

MAKERS = {
    "proxyless_mobile": applications.ProxylessMobile,
    "proxyless_cpu": applications.ProxylessCPU,
    "proxyless_gpu": applications.ProxylessGPU,
    "proxyless_mobile_14": applications.ProxylessMobile14,
    "efficientnet_lite0": applications.EfficientNetLite0,
}


@pytest.fixture
def small():
    """Two of three blocks of each stage skipped."""
    space = tiny(classes=4)
    return Architecture(
        space, tuple(Zero() if choice.shortcut else MBConv(3, 3) for choice in space.choice_blocks)
    )


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def scrambled(model):
    """The model with every variable random: also the moving statistics, which start as zeros and
    ones."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_published_parameters_and_feature_width(name):
    """With the classifier they are counted in test_network.py."""
    features = MAKERS[name](include_top=False, pooling="avg")
    head = PUBLISHED[name].head_width
    assert features.output_shape == (None, head)
    assert trainable(features) == PUBLISHED[name].parameters - 1000 * (
        head + 1
    )  # all but the classifier


@pytest.mark.slow
def test_the_package_alone_gives_the_applications():
    program = (
        "import sys, pnas_tf; assert 'tensorflow' not in sys.modules; "
        "import pnas_tf.applications; pnas_tf.applications.tf.zeros(3); "
        "print(pnas_tf.applications.ProxylessCPU.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("ProxylessCPU\n", ""), "TensorFlow tells of itself"
    with pytest.raises(AttributeError):
        print(pnas_tf.nothing_of_this_name)


def test_classes_dropout_and_shapes(small):
    model = applications.from_architecture(small, classes=7, dropout=0.25)
    assert model.output_shape == (None, 7)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [
        0.25
    ]
    features = applications.from_architecture(small, (48, 64, 3), include_top=False)
    assert features.output_shape == (None, 6, 8, 128)  # stride 8 in the space for small images
    anywhere = applications.from_architecture(
        small, (None, None, 3), include_top=False, pooling="max"
    )
    assert anywhere(np.zeros((1, 40, 56, 3), np.float32)).shape == (1, 128)


def test_a_size_left_open_computes_what_the_fixed_size_does(small):
    fixed = scrambled(applications.from_architecture(small))
    free = applications.from_architecture(small, (None, None, 3))
    free.set_weights(fixed.get_weights())
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(free(images), fixed(images), rtol=1e-5)


@pytest.mark.parametrize("file", ["w.h5", "w.weights.h5", "whole.h5"])
@pytest.mark.slow
def test_saved_weights_come_back_with_and_without_top(small, tmp_path, file):
    model = scrambled(build_network(small))
    (model.save if file == "whole.h5" else model.save_weights)(tmp_path / file)
    images = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)
    again = applications.from_architecture(small, weights=tmp_path / file)
    np.testing.assert_array_equal(again(images), model(images))
    # Another class count is no hindrance to a backbone; its features are the tensor that the
    # classifier read.
    features = applications.from_architecture(
        small, weights=tmp_path / file, include_top=False, pooling="avg", classes=9
    )
    np.testing.assert_allclose(
        features(images),
        keras.Model(model.input, model.get_layer("head/pool").output)(images),
        rtol=1e-6,
    )


@pytest.mark.slow
def test_weights_of_a_backbone_come_back_as_a_backbone(small, tmp_path):
    backbone = scrambled(applications.from_architecture(small, include_top=False))
    backbone.save_weights(tmp_path / "b.h5")
    images = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)
    again = applications.from_architecture(small, include_top=False, weights=tmp_path / "b.h5")
    np.testing.assert_array_equal(again(images), backbone(images))
    with pytest.raises(UserError, match="include_top=False"):
        applications.from_architecture(small, weights=tmp_path / "b.h5")


def test_a_network_keeps_the_epsilon_that_it_was_trained_with(small, tmp_path):
    """Of the run folder beside its architecture, or as it is said."""
    model = build_network(small, normalisation=Normalisation(epsilon=0.05))
    draw = np.random.default_rng(0).uniform
    model.set_weights([draw(0.01, 0.1, each.shape) for each in model.get_weights()])
    model.save_weights(tmp_path / "w.h5")
    path = small.save(tmp_path / "architecture.json")
    configs = [OptimizerConfig(bn_epsilon=0.05)]
    write_config(tmp_path, with_settings(tmp_path, configs, {}))
    images = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)
    for found in (
        applications.from_architecture(path, weights=tmp_path / "w.h5"),
        applications.from_architecture(small, weights=tmp_path / "w.h5", bn_epsilon=0.05),
    ):
        np.testing.assert_array_equal(found(images), model(images))
    other = applications.from_architecture(small, weights=tmp_path / "w.h5")
    assert not np.allclose(other(images), model(images))


@pytest.mark.slow
def test_an_original_checkpoint_serves_any_class_count_without_its_top(tmp_path):
    torch = pytest.importorskip("torch", reason="the optional extra torch is not installed")
    space = MBConvSpace(
        "one", 16, 3, 8, 8, (Stage(16, 1, 2),), 32, (MBConv(3, 3),), padding="symmetric"
    )
    architecture = Architecture(space, (MBConv(3, 3),))
    model = scrambled(build_network(architecture))
    names = {
        "stem/conv": "first_conv",
        "first/depthwise": "blocks.0.mobile_inverted_conv.depth_conv",
        "first/project": "blocks.0.mobile_inverted_conv.point_linear",
        "block_00/expand": "blocks.1.mobile_inverted_conv.inverted_bottleneck",
        "block_00/depthwise": "blocks.1.mobile_inverted_conv.depth_conv",
        "block_00/project": "blocks.1.mobile_inverted_conv.point_linear",
        "head/mix": "feature_mix_layer",
    }
    state = {
        "classifier.linear.weight": model.get_layer("head/classifier").get_weights()[0].T,
        "classifier.linear.bias": model.get_layer("head/classifier").get_weights()[1],
    }
    for ours, theirs in names.items():
        (kernel,) = model.get_layer(ours).get_weights()
        state[f"{theirs}.conv.weight"] = (
            kernel.transpose(2, 3, 0, 1) if "depthwise" in ours else kernel.transpose(3, 2, 0, 1)
        )
        values = model.get_layer(f"{ours}_bn").get_weights()
        state |= {
            f"{theirs}.bn.{name}": value
            for name, value in zip(("weight", "bias", "running_mean", "running_var"), values)
        }
    torch.save(
        {name: torch.tensor(value) for name, value in state.items()}, tmp_path / "official.pth"
    )
    images = np.random.default_rng(3).normal(size=(2, 16, 16, 3)).astype(np.float32)
    again = applications.from_architecture(architecture, weights=tmp_path / "official.pth")
    np.testing.assert_allclose(again(images), model(images), rtol=1e-6)
    features = applications.from_architecture(
        architecture,
        weights=tmp_path / "official.pth",
        include_top=False,
        pooling="avg",
        classes=99,
    )
    np.testing.assert_allclose(
        features(images),
        keras.Model(model.input, model.get_layer("head/pool").output)(images),
        rtol=1e-6,
    )
    with pytest.raises(UserError):
        applications.from_architecture(architecture, weights=tmp_path / "official.pth", classes=99)


def test_an_architecture_file_is_enough(small, tmp_path):
    model = applications.from_architecture(small.save(tmp_path / "architecture.json"))
    assert model.output_shape == (None, 4) and trainable(model) == small.parameters


@pytest.mark.slow
def test_endpoints_of_the_published_network():
    backbone = applications.ProxylessMobile((256, 192, 3), include_top=False)
    found = {
        name: tuple(tensor.shape[1:]) for name, tensor in applications.endpoints(backbone).items()
    }
    assert found == {
        "first": (128, 96, 16),
        "stage_0": (64, 48, 32),
        "stage_1": (32, 24, 40),
        "stage_2": (16, 12, 80),
        "stage_3": (16, 12, 96),
        "stage_4": (8, 6, 192),
        "stage_5": (8, 6, 320),
        "mix": (8, 6, 1280),
    }


@pytest.mark.slow
def test_endpoints_are_what_the_next_stage_reads():
    """Whatever was drawn: no op behind a stage's last block belongs to the stage, and the first op
    of the next reads the endpoint."""
    for seed in range(5):
        architecture = random_architecture(tiny(), seed=seed)
        model = applications.from_architecture(architecture)
        taps = applications.endpoints(model, architecture)
        for choice in architecture.space.choice_blocks:
            if choice.stage > 0 and choices_before(architecture, choice.stage) == choice.index:
                reader = next(
                    layer
                    for layer in model.layers
                    if layer.name.startswith(f"block_{choice.index:02d}/")
                )
                assert reader.input is taps[f"stage_{choice.stage - 1}"]
        assert (
            next(layer for layer in model.layers if layer.name.startswith("head/")).input
            is taps["stage_2"]
        )


def test_a_stage_without_blocks_passes_on_what_it_reads():
    space = named_space("cifar", classes=4)
    ops = [
        Zero() if Zero() in each.candidates else each.candidates[0] for each in space.choice_blocks
    ]
    architecture = Architecture(space, tuple(ops))
    taps = applications.endpoints(applications.from_architecture(architecture), architecture)
    assert list(taps) == ["first", "stage_0", "stage_1", "stage_2", "stage_3", "mix"]
    assert taps["stage_0"] is taps["first"]
    assert [tensor.shape[1] for tensor in taps.values()] == [32, 32, 16, 8, 4, 4]


def choices_before(architecture, stage):
    return sum(choice.stage < stage for choice in architecture.space.choice_blocks)


@pytest.mark.slow
def test_a_backbone_trains_inside_another_model(small):
    backbone = applications.from_architecture(small, include_top=False)
    taps = applications.endpoints(backbone, small)
    pyramid = [keras.layers.GlobalAveragePooling2D()(tensor) for tensor in taps.values()]
    model = keras.Model(backbone.input, keras.layers.Dense(2)(keras.layers.Concatenate()(pyramid)))
    model.compile(
        keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    images = np.concatenate([np.full((8, 32, 32, 3), -1.0), np.full((8, 32, 32, 3), 1.0)]).astype(
        np.float32
    )
    before = backbone.get_layer("stem/conv").get_weights()[0].copy()
    # Of 24 fits (12 seeds, oneDNN with SSE4.1 and with AVX-512) at most 0.003 of the first loss
    # was left.
    losses = model.fit(images, np.repeat([0, 1], 8), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert not np.array_equal(before, backbone.get_layer("stem/conv").get_weights()[0])


@pytest.mark.slow
def test_endpoints_survive_saving(tmp_path):
    model = applications.ProxylessGPU((64, 64, 3), include_top=False)
    model.save(tmp_path / "m.h5")
    again = keras.models.load_model(tmp_path / "m.h5", compile=False)
    assert {name: tensor.shape for name, tensor in applications.endpoints(again).items()} == {
        name: tensor.shape for name, tensor in applications.endpoints(model).items()
    }


def test_preprocessing():
    pixels = np.array([[[[0, 127.5, 255]]]], np.float32)
    np.testing.assert_allclose(applications.preprocess_input(pixels).ravel(), [-1, 0, 1])
    official = applications.preprocess_input(
        pixels, mean=applications.OFFICIAL_MEAN, std=applications.OFFICIAL_STD
    )
    # torchvision's numbers: (pixel / 255 - mean) / std with mean 0.485, 0.456, 0.406 and std 0.229,
    # 0.224, 0.225
    np.testing.assert_allclose(
        official.ravel(),
        [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        rtol=1e-5,
    )
    import tensorflow as tf

    tensor = applications.preprocess_input(tf.constant([[[[0, 51, 255]]]], tf.uint8))
    assert tensor.dtype == tf.float32
    np.testing.assert_allclose(tensor.numpy().ravel(), [-1, -0.6, 1], rtol=1e-6)


@pytest.mark.slow
def test_refusals(small, tmp_path):
    other = random_architecture(tiny(classes=4), seed=3)
    build_network(other).save_weights(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes((tmp_path / "other.h5").read_bytes()[:2000])
    for arguments, said in [
        ({"pooling": "avg"}, "include_top=False"),
        ({"pooling": "sum", "include_top": False}, "sum"),
        ({"dropout": 1.5}, "1.5"),
        ({"input_shape": (32, 32)}, "(32, 32)"),
        ({"input_shape": (32, 32, 1)}, "channels-last"),
        ({"input_shape": (0, 32, 3)}, "positive"),
        ({"weights": tmp_path / "absent.h5"}, "absent.h5"),
        ({"weights": tmp_path / "broken.h5"}, "broken.h5"),
        ({"weights": tmp_path / "other.h5"}, "of this architecture"),
        ({"weights": tmp_path / "other.h5", "classes": 5}, "one of 4"),
        ({"classes": 0}, "classes"),
    ]:
        with pytest.raises(UserError) as refused:
            applications.from_architecture(small, **arguments)
        assert said in str(refused.value), arguments
    with pytest.raises(UserError, match="architecture"):
        applications.endpoints(applications.from_architecture(small))
    with pytest.raises(UserError, match="layers of"):
        applications.endpoints(applications.from_architecture(small), other)
    cells = random_architecture(named_space("pyramid_tree", classes=4), seed=0)
    with pytest.raises(UserError, match="of stages"):
        applications.endpoints(applications.from_architecture(cells), cells)
