"""Weights to start from, whatever file they lie in; what is no such file is refused and says what
would be."""

import json
import shutil

import numpy as np
import pytest
from synthetic import FarPixels

from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.interop.pretrained import OFFICIAL_INPUT, open_pretrained
from pnas_tf.interop.pretrained_files import find_pretrained
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import InputNormalisation, block_arrays
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS, Artifact
from pnas_tf.search.loop import Search
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.supernet.supernet import Supernet

SPACE = MBConvSpace("learnt", 16, 2, 8, 8, (Stage(8, 2, 1),), 16, (MBConv(3, 2), MBConv(5, 1)))
ARCHITECTURE = Architecture(SPACE, (MBConv(5, 1), Zero()))
USUAL = InputNormalisation.of(127.5, 127.5)


@pytest.fixture(scope="module")
def model():
    built = build_network(ARCHITECTURE)
    generator = np.random.default_rng(0)
    built.set_weights([generator.uniform(0.5, 1.5, each.shape) for each in built.get_weights()])
    return built


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A run folder with a supernet and a trained network."""
    run = tmp_path_factory.mktemp("run")
    ARCHITECTURE.save(run / Artifact.ARCHITECTURE)
    (run / Artifact.TRAINING).mkdir()
    model.save(run / Artifact.NETWORK, save_format="keras")
    document = {
        "format": "pnas_tf/train_result",
        "version": 1,
        "class_names": ["ant", "bee"],
        "normalization": {"mean": 100.0, "std": 50},
    }
    (run / Artifact.TRAINING_RESULT).write_text(json.dumps(document))
    settings = {
        "format": "pnas_tf/config",
        "version": 2,
        "OptimizerConfig": {"bn_epsilon": 0.01},
    }
    (run / Artifact.CONFIG).write_text(json.dumps(settings))
    supernet = Supernet(SPACE, SearchConfig(weights_init="he_fout"), seed=5)
    arrays = {name: each.numpy() for name, each in supernet.named_variables().items()}
    recipe = SearchRecipe(SearchConfig(), OptimizerConfig(), seed=0)
    targets = SearchTargets((Target(macs_quantity(SPACE), 1e5),), recipe.config)
    search = Search(supernet, FarPixels(64, 0), targets, recipe, folder=run / Artifact.SEARCH)
    Checkpoints(run / Artifact.SEARCH / CHECKPOINTS).save(7, *search.state())
    return run, arrays


@pytest.fixture
def run(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made[0], tmp_path / "run")


def assert_of_model(weights, model):
    found = [*weights.fixed.values(), *(each for (each,) in weights.choices)]
    assert [each.block.name for each in weights.fixed.values()] == ["stem", "first", "head"]
    assert {each.block for each in found} == set(ARCHITECTURE.blocks)
    for each in found:
        for name, array in block_arrays(model, each.block).items():
            np.testing.assert_array_equal(each.arrays[name], array)


def test_a_run_folder_gives_its_trained_network_and_all_that_belongs_to_it(made, model):
    weights = open_pretrained(str(made[0]))
    assert_of_model(weights, model)
    assert weights.class_names == ("ant", "bee") and weights.bn_epsilon == 0.01
    assert weights.input == InputNormalisation.of(100.0, 50.0)
    assert find_pretrained(str(made[0])).files == tuple(
        made[0] / name for name in (Artifact.NETWORK, Artifact.ARCHITECTURE)
    )


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_a_weights_file_beside_its_architecture(tmp_path, model, name):
    ARCHITECTURE.save(tmp_path / Artifact.ARCHITECTURE)
    (model.save if name == "w.keras" else model.save_weights)(tmp_path / name)
    weights = open_pretrained(str(tmp_path / name))
    assert_of_model(weights, model)
    assert (weights.class_names, weights.input) == (None, USUAL)


@pytest.mark.parametrize("named", ["", "search"])
def test_a_search_gives_every_candidate(run, made, named):
    if not named:
        (run / Artifact.NETWORK).unlink()
    weights = open_pretrained(str(run / named))
    assert [len(block) for block in weights.choices] == [3, 3]
    for each in (*weights.fixed.values(), *(one for block in weights.choices for one in block)):
        prefix = each.block.name
        if each.block.name.startswith("block"):
            prefix = f"{prefix}/{each.block.op.key}"
        for name, array in each.arrays.items():
            np.testing.assert_array_equal(array, made[1][f"{prefix}/{name}"])
    taken = sum(len(each.arrays) for block in weights.choices for each in block)
    assert taken + sum(len(each.arrays) for each in weights.fixed.values()) == len(made[1]) - 2
    assert (weights.input, weights.bn_epsilon) == (USUAL, 0.01)


@pytest.mark.slow
def test_an_original_checkpoint_beside_its_net_config(tmp_path):
    torch = pytest.importorskip("torch", reason="the optional extra torch is not installed")
    own = pytest.importorskip("test_checkpoint")
    from upstream_writer import save_upstream, to_upstream

    from pnas_tf.interop.net_config import UpstreamNetwork

    network = UpstreamNetwork(own.ARCHITECTURE, 0.9, 0.002, 0.1)
    torch.manual_seed(0)
    twin = own.Twin(to_upstream(network))
    save_upstream(tmp_path / "net.config", network)
    (tmp_path / "checkpoint").mkdir()
    torch.save({"state_dict": twin.state_dict()}, tmp_path / "checkpoint" / "best.pth.tar")
    weights = open_pretrained(str(tmp_path / "checkpoint" / "best.pth.tar"))
    kernel = twin.blocks[1].mobile_inverted_conv.depth_conv.conv.weight.detach().numpy()
    np.testing.assert_array_equal(
        weights.choices[0][0].arrays["depthwise/kernel"], kernel.transpose(2, 3, 0, 1)
    )
    assert weights.input == OFFICIAL_INPUT and weights.class_names is None
    assert (weights.bn_epsilon, weights.space.padding) == (0.002, "symmetric")


def damage(run, what):
    network, checkpoint = run / Artifact.NETWORK, run / Artifact.SEARCH / CHECKPOINTS
    if what == "truncated":
        network.write_bytes(network.read_bytes()[:-500])
    elif what == "not finite":
        build = build_network(ARCHITECTURE)
        build.get_layer("stem/conv").set_weights([np.full((3, 3, 3, 8), np.nan)])
        build.save(network, save_format="keras")
    elif what == "another network":
        build_network(Architecture(SPACE, (MBConv(3, 2), Zero()))).save(
            network, save_format="keras"
        )
    elif what == "no architecture":
        (run / Artifact.ARCHITECTURE).unlink()
    elif what == "another result":
        (run / Artifact.TRAINING_RESULT).write_text('{"format": "x", "version": 1}')
    else:
        network.unlink()
        (file,) = checkpoint.iterdir()
        if what == "nothing trained":
            file.unlink()
        elif what == "torn checkpoint":
            file.write_bytes(file.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("truncated", ["model.keras"]),
        ("not finite", ["model.keras", "NaN"]),
        ("another network", ["model.keras", "the weights of 'learnt'"]),
        ("no architecture", ["no architecture.json in it"]),
        ("another result", ["result.json"]),
        ("nothing trained", ["train/model.keras, or a checkpoint", "neither"]),
        ("torn checkpoint", ["a whole checkpoint"]),
    ],
)
def test_damaged_folders_are_refused(run, what, words):
    damage(run, what)
    with pytest.raises(UserError) as refused:
        open_pretrained(str(run))
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no such file or folder"),
        ("proxyless_mobile", "no such file or folder"),
        ("notes.txt", "a .txt file"),
        ("alone.h5", "architecture.json"),
        ("alone.pth", "net.config"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, name, said):
    if "." in name:
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    place = str(tmp_path / name) if "." in name else name
    with pytest.raises(UserError, match=said):
        open_pretrained(place)


def test_a_checkpoint_that_holds_code_runs_none_of_it(tmp_path):
    torch = pytest.importorskip("torch", reason="the optional extra torch is not installed")
    own = pytest.importorskip("test_checkpoint")
    from upstream_writer import save_upstream

    from pnas_tf.interop.net_config import UpstreamNetwork

    save_upstream(tmp_path / "net.config", UpstreamNetwork(own.ARCHITECTURE, 0.9, 0.001, 0.0))
    torch.save({"weight": Touches(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth"):
        open_pretrained(str(tmp_path / "w.pth"))
    assert not (tmp_path / "ran").exists()


class Touches:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))
