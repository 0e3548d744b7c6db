"""`pnas search --pretrained`: a supernet starts from a run of other images by the command line, and
what does not suit the space is refused before anything is made."""

import dataclasses
import json

import pytest
from forked_program import assert_refused, run
from tinted import photographs

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import save_space

pytestmark = pytest.mark.slow

SPACE = MBConvSpace("micro", 8, 2, 8, 8, (Stage(8, 2, 2),), 16, (MBConv(3, 2), MBConv(5, 2)))


def made_up_table(space):
    """Its figures say nothing: what is tested here is no latency."""
    entries = {
        key: Measurement(
            Device("host", "machine", "processor", (1,), "system", "build"),
            Settings("runtime", "1.0", "xnnpack", 1),
            ModelFacts("0" * 64, 1, "float32", (1, 8, 8, 3), ()),
            (ModelRun((1000.0 * number,) * 24),),
        )
        for number, key in enumerate(space.distinct_blocks(), start=1)
    }
    one = next(iter(entries.values()))
    identity = Identity(one.device, one.settings, "float32", ())
    return LatencyTable(identity, entries, created_unix_s=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two datasets of other classes, a run that learnt the first, and a larger space."""
    place = tmp_path_factory.mktemp("place")
    photographs(place / "tints", {"dark": (0, 0, 0), "light": (170, 170, 170)})
    photographs(place / "colours", {"blue": (0, 0, 150), "green": (0, 150, 0), "red": (150, 0, 0)})
    Architecture(SPACE, (MBConv(3, 2), MBConv(5, 2))).save(place / "net.json")
    made = run(
        "train",
        "--run_dir=learnt",
        "--dataset=folder:tints",
        "--architecture=net.json",
        "--epochs=1",
        "--batch_size=8",
        cwd=place,
    )
    assert made.status == 0, made.output
    larger = dataclasses.replace(SPACE, classes=3, candidates=(MBConv(3, 1), MBConv(7, 3)))
    save_space(larger, place / "larger.json")
    made_up_table(larger).save(place / "found/latency_table.json")
    return place


def search(place, *arguments):
    return run(
        "search",
        "--run_dir=found",
        "--dataset=folder:colours",
        "--pretrained=learnt",
        "--search_batch_size=8",
        "--derive_networks=1",
        "--min_latency_fraction=0",
        *arguments,
        cwd=place,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--space=tiny",), ["learnt/train/model.keras", "3 stages", "1 stage"]),
        (("--space=pyramid_tree",), ["two spaces of stages", "TreeCellSpace"]),
        (
            ("--space=larger.json", "--pretrained=", "--weights_init=pretrained"),
            ["--pretrained=imagenet"],
        ),
    ],
)
def test_what_does_not_suit_is_refused_before_any_work(place, arguments, words):
    before = sorted((place / "found").rglob("*"))
    assert_refused(search(place, *arguments), *words)
    assert sorted((place / "found").rglob("*")) == before


def test_a_search_starts_from_a_run_and_its_network_from_the_search(place):
    flags = ("--space=larger.json", "--warmup_epochs=1", "--search_epochs=1")
    made = search(place, *flags)
    assert made.status == 0, made.output
    assert "starts from learnt/train/model.keras: of 4 candidates" in made.output
    assert "2 compute what theirs compute" in made.output and "2 are new" in made.output
    assert "new: classifier of 3 classes, in the place of 2 others" in made.output
    rows = json.loads((place / "found/search/pretrained.json").read_text())["blocks"]
    assert {row["function"] for row in rows if row["op"] == "mbconv_k7_e3"} == {"kept"}
    assert "search: complete, skipped" in search(place, *flags).output
    trained = run(
        "train",
        "--run_dir=found",
        "--dataset=folder:colours",
        "--pretrained=learnt",
        "--epochs=1",
        "--batch_size=8",
        cwd=place,
    )
    assert trained.status == 0, trained.output
    assert "starts from learnt" not in trained.output  # but from the supernet that did
    result = json.loads((place / "found/train/result.json").read_text())
    expected = {"source": "learnt/train/model.keras", "through": "search/pretrained.json"}
    assert result["pretrained"] == expected
