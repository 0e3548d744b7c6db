"""PyTorch checkpoints: a network built here in torch, saved, loaded into Keras, and compared logit
by logit."""

import re
from collections import OrderedDict

import numpy as np
import pytest
import tf_keras as keras
from upstream_writer import to_upstream

from pnas_tf.errors import UserError
from pnas_tf.interop.checkpoint import load_upstream_weights, read_state_dict
from pnas_tf.interop.net_config import UpstreamNetwork, from_upstream
from pnas_tf.io import isolated
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero

torch = pytest.importorskip("torch", reason="the optional extra torch is not installed")

# Strides 1 and 2, kernels 3, 5 and 7, expansions 1, 3 and 6, a skipped block, an odd and an even
# size on the way.
OPS = (MBConv(5, 3), MBConv(3, 6), Zero(), MBConv(7, 6), MBConv(3, 3), MBConv(5, 1), MBConv(7, 3))
SPACE = MBConvSpace(
    "twin",
    36,
    11,
    16,
    8,
    (Stage(16, 3, 2), Stage(24, 3, 2), Stage(32, 1, 1)),
    64,
    tuple(MBConv(k, e) for k in (3, 5, 7) for e in (1, 3, 6)),
    padding="symmetric",
)
ARCHITECTURE = Architecture(SPACE, OPS)


def conv_bn(in_channels, out_channels, kernel, stride=1, groups=1, activation=True):
    layers = [
        (
            "conv",
            torch.nn.Conv2d(
                in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
            ),
        ),
        ("bn", torch.nn.BatchNorm2d(out_channels, eps=1e-3)),
    ]
    return torch.nn.Sequential(OrderedDict(layers + [("act", torch.nn.ReLU6())] * activation))


class Residual(torch.nn.Module):
    """One block from its net.config entry; knows nothing of our blocks."""

    def __init__(self, config, channels):
        super().__init__()
        conv = config["mobile_inverted_conv"]
        self.shortcut = config["shortcut"] is not None
        self.zero = conv["name"] == "ZeroLayer"
        self.out_channels = channels
        if not self.zero:
            middle, self.out_channels = (
                conv["in_channels"] * conv["expand_ratio"],
                conv["out_channels"],
            )
            parts = OrderedDict()
            if conv["expand_ratio"] > 1:
                parts["inverted_bottleneck"] = conv_bn(conv["in_channels"], middle, 1)
            parts["depth_conv"] = conv_bn(
                middle, middle, conv["kernel_size"], conv["stride"], groups=middle
            )
            parts["point_linear"] = conv_bn(middle, self.out_channels, 1, activation=False)
            self.mobile_inverted_conv = torch.nn.Sequential(parts)

    def forward(self, x):
        if self.zero:
            return x
        return self.mobile_inverted_conv(x) + x if self.shortcut else self.mobile_inverted_conv(x)


class Twin(torch.nn.Module):
    """A network from a net.config document."""

    def __init__(self, config):
        super().__init__()
        channels = config["first_conv"]["out_channels"]
        self.first_conv = conv_bn(3, channels, 3, config["first_conv"]["stride"])
        self.blocks = torch.nn.ModuleList()
        for entry in config["blocks"]:
            self.blocks.append(Residual(entry, channels))
            channels = self.blocks[-1].out_channels
        self.feature_mix_layer = conv_bn(channels, config["feature_mix_layer"]["out_channels"], 1)
        self.classifier = torch.nn.Sequential(
            OrderedDict(
                linear=torch.nn.Linear(
                    config["classifier"]["in_features"], config["classifier"]["out_features"]
                )
            )
        )

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.feature_mix_layer(x).mean((2, 3)))


@pytest.fixture(scope="module")
def twin():
    torch.manual_seed(0)
    network = Twin(to_upstream(UpstreamNetwork(ARCHITECTURE, 0.9, 1e-3, 0.1)))
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).normal(size=(4, 36, 36, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def built():
    return build_network(ARCHITECTURE)


@pytest.fixture
def model(built):
    """The Keras network with fresh random weights."""
    generator = np.random.default_rng(3)
    built.set_weights([generator.uniform(0.1, 0.2, weight.shape) for weight in built.get_weights()])
    return built


def logits_of_torch(twin, images):
    with torch.no_grad():
        return twin(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.slow
def test_logits_equal_pytorchs(twin, model, images, tmp_path, legacy, wrapped):
    state = twin.state_dict()
    if wrapped:
        state = {
            "epoch": 3,
            "state_dict": OrderedDict((f"module.{key}", value) for key, value in state.items()),
        }
    path = tmp_path / "twin.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    before = model(images, training=False).numpy()
    load_upstream_weights(model, path)
    after, expected = model(images, training=False).numpy(), logits_of_torch(twin, images)
    assert np.abs(after - expected).max() < 1e-4 < np.abs(before - expected).max()
    assert expected.std() > 0.1  # logits that all vanish would agree with anything


def test_network_of_a_net_config_with_another_epsilon(twin, images, tmp_path):
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    config = from_upstream(
        to_upstream(UpstreamNetwork(ARCHITECTURE, 0.9, 0.1, 0.1)),
        where="twin",
        name="twin",
        resolution=36,
    )
    network = build_network(
        config.architecture,
        normalisation=Normalisation(config.bn_momentum, config.bn_epsilon),
        dropout=config.dropout,
    )
    load_upstream_weights(network, tmp_path / "twin.pth")
    other = Twin(to_upstream(UpstreamNetwork(ARCHITECTURE, 0.9, 0.1, 0.1)))
    other.load_state_dict(twin.state_dict())
    for module in other.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.1
    np.testing.assert_allclose(
        network(images, training=False).numpy(), logits_of_torch(other.eval(), images), atol=1e-4
    )


def test_every_weight_is_set(twin, model, tmp_path):
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.get_weights()])
    load_upstream_weights(model, tmp_path / "twin.pth")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert sum(weight.size for weight in model.get_weights()) == sum(
        tensor.numel() for tensor in twin.state_dict().values() if tensor.is_floating_point()
    )


def test_training_mode_normalises_alike(twin, model, images, tmp_path):
    # The batch's own statistics instead of the moving ones, and the same epsilon.
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    load_upstream_weights(model, tmp_path / "twin.pth")
    copy = Twin(to_upstream(UpstreamNetwork(ARCHITECTURE, 0.9, 1e-3, 0.0)))
    copy.load_state_dict(twin.state_dict())
    expected = logits_of_torch(copy.train(), images)
    np.testing.assert_allclose(model(images, training=True).numpy(), expected, atol=2e-4)


def spoilt(state, key, value):
    state = OrderedDict(state)
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


KEY = "blocks.4.mobile_inverted_conv.depth_conv.conv.weight"


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (KEY, None, KEY),
        ("blocks.99.mobile_inverted_conv.depth_conv.conv.weight", torch.zeros(3), "blocks.99"),
        (KEY, torch.zeros(96, 1, 5, 5), KEY),
        (KEY, torch.zeros(96), KEY),
        (KEY, torch.full((96, 1, 7, 7), float("nan")), KEY),
        (KEY, torch.zeros(96, 1, 7, 7, dtype=torch.int64), KEY),
        (KEY, "a string", KEY),
        (KEY, torch.zeros(96, 49).to_sparse(), KEY),
        ("blocks.3.mobile_inverted_conv.conv.weight", torch.zeros(1), "blocks.3"),
        ("classifier.linear.bias", torch.zeros(1000), "classifier.linear.bias"),
    ],
    ids=[
        "missing",
        "unexpected",
        "shape",
        "rank",
        "nan",
        "integers",
        "string",
        "sparse",
        "zero block",
        "classes",
    ],
)
def test_unsuitable_checkpoints_are_refused_and_leave_the_model_alone(
    twin, model, tmp_path, key, value, named
):
    torch.save(spoilt(twin.state_dict(), key, value), tmp_path / "twin.pth")
    before = model.get_weights()
    with pytest.raises(UserError) as caught:
        load_upstream_weights(model, tmp_path / "twin.pth")
    assert named in str(caught.value) and "twin.pth" in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Trap:
    """An object whose unpickling would run code: it makes a file, so that it shows in whatever
    process that happens."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_nothing_is_executed(tmp_path, legacy):
    mark = tmp_path / "executed"
    torch.save(
        {"state_dict": Trap(mark)}, tmp_path / "trap.pth", _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(UserError, match=r"trap\.pth is corrupt"):
        read_state_dict(tmp_path / "trap.pth")
    assert not mark.exists()
    torch.load(tmp_path / "trap.pth", weights_only=False)  # the trap is one
    assert mark.exists()


@pytest.mark.slow
def test_a_file_that_takes_torch_minutes_to_refuse_is_refused_in_time(tmp_path, monkeypatch):
    """torch searches its own message for a pattern in time that grows with the square of a name's
    length."""
    monkeypatch.setattr(isolated, "CPU_S", 1)
    path = tmp_path / "slow.pth"
    path.write_bytes(b"\x80\x02c" + b"x" * 200_000 + b"\nname\n.")
    with pytest.raises(UserError, match=r"slow\.pth is harmful") as error:
        read_state_dict(path)
    assert "SIGXCPU" in error.value.received  # by the processor's time, whatever else runs
    path.write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match=r"slow\.pth is corrupt"):  # the next file finds a reader
        read_state_dict(path)


def test_damaged_files_are_refused_by_name(twin, tmp_path):
    path = tmp_path / "twin.pth"
    generator = np.random.default_rng(4)
    for legacy in (False, True):
        torch.save(twin.state_dict(), path, _use_new_zipfile_serialization=not legacy)
        whole = path.read_bytes()
        for content in (
            b"",
            b"PK\x03\x04",
            b"\x80\x02",
            whole[:1000],
            whole[:-100],
            generator.bytes(500),
            whole[:300] + generator.bytes(300),
        ):
            path.write_bytes(content)
            with pytest.raises(UserError, match=re.escape(str(path))):
                read_state_dict(path)
    for other in ([torch.zeros(1)], torch.zeros(3), {1: torch.zeros(1)}, 7):
        torch.save(other, path)
        with pytest.raises(UserError, match="no state_dict"):
            read_state_dict(path)
    with pytest.raises(UserError, match="no checkpoint at"):
        read_state_dict(tmp_path / "nothing.pth")


def test_a_backbone_takes_a_whole_checkpoint(twin, model, images, tmp_path):
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    backbone = keras.Model(
        model.input, model.get_layer("block_06/project_bn").output, name="backbone"
    )
    load_upstream_weights(backbone, tmp_path / "twin.pth")
    with torch.no_grad():
        x = twin.first_conv(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        for block in twin.blocks:
            x = block(x)
    np.testing.assert_allclose(
        backbone(images, training=False).numpy(), x.numpy().transpose(0, 2, 3, 1), atol=1e-3
    )


def test_foreign_layers_are_refused(twin, model, tmp_path):
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    longer = keras.Model(model.input, keras.layers.Dense(3, name="mine")(model.output))
    with pytest.raises(UserError, match="'mine' has no counterpart"):
        load_upstream_weights(longer, tmp_path / "twin.pth")
