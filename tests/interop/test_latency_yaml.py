"""The original project's YAML tables keep their value: the documented key gives our block its
milliseconds."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import yaml

from pnas_tf.config import LatencyConfig
from pnas_tf.errors import UserError
from pnas_tf.interop.latency_yaml import load_upstream_table, once_for_all_keys, upstream_keys
from pnas_tf.latency.few_shot import MEASURE_ANEW
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import proxyless
from pnas_tf.space.ops import Head, MBConv, Stem
from pnas_tf.steps.latency_table import _read

# Keys and values as published for the Pixel 1.
PUBLISHED = """
Conv-input:224x224x3-output:112x112x32: {count: 200, mean: 6.0, var: 0.1}
Conv_1-input:7x7x320-output:7x7x1280: {count: 200, mean: 3.0, var: 0.1}
Logits-input:7x7x1280-output:1000: {count: 200, mean: 1.5, var: 0.1}
expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0: {count: 154, mean: 5.26, var: 0.195}
expanded_conv-input:56x56x24-output:56x56x24-expand:6-kernel:5-stride:1-idskip:1: {count: 154, mean: 9.5}
"""


MIX, REST = "Conv_1-input:7x7x320-output:7x7x1280", "Logits-input:7x7x1280-output:1000"


def rows_of(space):
    """A whole table of the original form, every price its own."""
    keys = [key for block in space.distinct_blocks().values() for key in upstream_keys(block)]
    return {key: {"count": 5, "mean": 0.5 + number / 8} for number, key in enumerate(keys)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "pixel1.yaml"
    path.write_text(PUBLISHED)
    return path


def test_published_keys_give_our_blocks_their_value(path):
    table = load_upstream_table(path, space=proxyless(), device="Pixel 1")
    assert table.latency_ms("mbconv_k3_e3 in=112x112x16 out=56x56x24 s2") == 5.26
    assert table.latency_ms("mbconv_k5_e6 in=56x56x24 out=56x56x24 s1 id") == 9.5
    assert table.latency_ms(proxyless().fixed_blocks()[0].key) == 6.0
    assert (
        table.latency_ms(proxyless().fixed_blocks()[-1].key) == 4.5
    )  # feature-mix convolution and the rest
    assert len(table.entries) == 4
    (visit,) = table.entries["mbconv_k3_e3 in=112x112x16 out=56x56x24 s2"].runs
    assert (visit.statistic, visit.count) == ("mean", 154)
    assert "Pixel 1" in table.describe() and "uncalibrated" in table.describe()


def test_what_the_file_lacks_is_missing_and_not_invented(path):
    table = load_upstream_table(path, space=proxyless(), device="x")
    with pytest.raises(UserError, match="no latency"):
        table.latency_ms("mbconv_k7_e6 in=56x56x24 out=56x56x24 s1 id")
    with pytest.raises(UserError):
        table.check_covers(proxyless())
    path.write_text("\n".join(line for line in PUBLISHED.splitlines() if "Logits" not in line))
    table = load_upstream_table(path, space=proxyless(), device="x")
    assert proxyless().fixed_blocks()[-1].key not in table.entries


def test_a_whole_table_predicts_the_sum_and_round_trips(tmp_path):
    space, path = proxyless(), tmp_path / "whole.yaml"
    keys = sorted(
        {key for block in space.distinct_blocks().values() for key in upstream_keys(block)}
    )
    path.write_text(
        "".join(f"{key}: {{count: 5, mean: {0.5 + number}}}\n" for number, key in enumerate(keys))
    )
    table = load_upstream_table(path, space=space, device="x")
    table.check_covers(space)
    network = random_architecture(space, seed=1)
    expected = sum(
        0.5 + keys.index(key)
        for block in network.blocks
        if block.layers
        for key in upstream_keys(block)
    )
    assert table.predict_ms(network) == pytest.approx(expected)
    assert type(table).load(table.save(tmp_path / "table.json")) == table


def test_every_key_is_made_once():
    keys = [key for block in proxyless().distinct_blocks().values() for key in upstream_keys(block)]
    assert len(keys) == len(set(keys)) == 70


def test_ops_that_the_original_lacks_have_no_latency():
    block = Block("b", MBConv(3, 3, squeeze_excite=True), 56, 56, 24, 24, 1, True, "same")
    assert upstream_keys(block) == ("upstream has no such op",)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just text",
        "- 1\n- 2",
        "a: {mean: -1}",
        "a: {mean: .nan}",
        "a: {count: 3}",
        "a: 5",
        "a: {mean: true}",
        "{: : :",
        "a: !!python/object/apply:os.getcwd []",
        "other: {mean: 1.0}",
        "a: {mean: 1}\nb: {mean: 2}\na: {mean: 3}",
        f"a: {{mean: 1{':0' * 180}.0}}",
        f"a: {{mean: 0x{'f' * 4000}}}",
        f"{'k' * 4000}: {{mean: 1}}",
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="table"):
        load_upstream_table(path, space=proxyless(), device="x")


@pytest.mark.parametrize("classes", [2, 10, 1000, 21843])
def test_the_classifier_of_any_number_of_classes_has_a_price_by_its_macs(tmp_path, classes):
    """Marked as no measurement wherever the table speaks, and the search takes the table."""
    path, rows = tmp_path / "whole.yaml", rows_of(proxyless())
    path.write_text(json.dumps(rows))
    space = proxyless(classes=classes)
    table = load_upstream_table(path, space=space, device="Pixel 1")
    table.check_covers(space)
    assert len(table.entries) == 69 and table.missing(space) == []
    head = space.fixed_blocks()[-1].key
    mix, rest = rows[MIX]["mean"], rows[REST]["mean"]
    assert table.latency_ms(head) == pytest.approx(mix + rest * classes / 1000)
    (run,) = table.entries[head].runs
    is_scaled = classes != 1000
    assert (run.statistic == "scaled") == is_scaled
    words = "not measured: scaled by MACs"
    assert (words in " ".join(table.warnings())) == is_scaled
    assert (words in table.entries[head].estimated) == is_scaled
    assert (f"output:{classes}' scaled by MACs from '{REST}'" in table.origin) == is_scaled
    assert sum(bool(entry.estimated) for entry in table.entries.values()) == is_scaled
    assert type(table).load(table.save(tmp_path / "table.json")) == table


def test_the_classifier_next_in_macs_is_scaled_and_that_of_another_image_size_is_not(tmp_path):
    path, space = tmp_path / "some.yaml", proxyless(classes=90)
    rows = {
        MIX: {"mean": 3.0},
        REST: {"mean": 2.0},
        REST.replace(":1000", ":100"): {"mean": 0.5},
        REST.replace("7x7", "8x8").replace(":1000", ":90"): {"mean": 77.0},
    }
    path.write_text(json.dumps(rows))
    table = load_upstream_table(path, space=space, device="x")
    assert table.latency_ms(space.fixed_blocks()[-1].key) == pytest.approx(3.0 + 0.5 * 90 / 100)
    del rows[REST], rows[REST.replace(":1000", ":100")]
    path.write_text(json.dumps(rows | {"Conv-input:224x224x3-output:112x112x32": {"mean": 1.0}}))
    table = load_upstream_table(path, space=space, device="x")
    assert space.fixed_blocks()[-1].key in table.failures


def test_a_table_that_lacks_blocks_says_so_when_it_is_written(tmp_path, caplog):
    path, rows = tmp_path / "most.yaml", rows_of(proxyless())
    lost = next(key for key in rows if "kernel:7" in key)
    path.write_text(json.dumps({key: row for key, row in rows.items() if key != lost}))
    job = SimpleNamespace(space=proxyless())
    _read(job, LatencyConfig(original_table=str(path)), tmp_path / "table.json")
    told = caplog.text
    assert "1 of the 69 blocks of space 'proxyless' are missing" in told
    assert f"most.yaml has no '{lost}'" in told and MEASURE_ANEW in told
    with pytest.raises(UserError, match="does not cover") as refused:
        LatencyTable.load(tmp_path / "table.json").check_covers(proxyless())
    assert lost in refused.value.received and MEASURE_ANEW in refused.value.fix
    path.write_text(json.dumps(rows))
    caplog.clear()
    _read(job, LatencyConfig(original_table=str(path)), tmp_path / "table.json")
    assert "missing" not in caplog.text
    int8 = LatencyConfig(original_table=str(path), latency_dtype="int8")
    _read(job, int8, tmp_path / "table.json")
    assert "of float32, though --latency_dtype=int8" in caplog.text


# As Once-for-all's published phone tables have them: `expand` in channels, marks behind.
@pytest.mark.parametrize(
    ("block", "keys"),
    [
        (
            Block("b", MBConv(5, 6), 112, 56, 24, 32, 2, False, "same"),
            "expanded_conv-input:112x112x24-output:56x56x32-expand:144-kernel:5-stride:2-idskip:0"
            "-se:0-hs:0",
        ),
        (
            Block("b", MBConv(3, 3, True, "hswish"), 14, 14, 80, 80, 1, True, "same"),
            "expanded_conv-input:14x14x80-output:14x14x80-expand:240-kernel:3-stride:1-idskip:1"
            "-se:1-hs:1",
        ),
        (
            Block("b", MBConv(3, 1), 81, 81, 16, 16, 1, True, "same"),
            "expanded_conv-input:81x81x16-output:81x81x16-expand:16-kernel:3-stride:1-idskip:1"
            "-se:0-hs:0",
        ),
        (
            Block("s", Stem(), 161, 81, 3, 16, 2, False, "same"),
            "Conv-input:161x161x3-output:81x81x16",
        ),
        (
            Block("h", Head(960), 6, 1, 160, 1000, 1, False, "same"),
            "Conv_1-input:6x6x160-output:6x6x960 AvgPool2D-input:6x6x960-output:1x1x960 "
            "Logits-input:1x1x960-output:1000",
        ),
        (
            Block("h", Head(960, 1280), 6, 1, 160, 1000, 1, False, "same"),
            "Conv_1-input:6x6x160-output:6x6x960 AvgPool2D-input:6x6x960-output:1x1x960 "
            "Conv_2-input:1x1x960-output:1x1x1280 Logits-input:1x1x1280-output:1000",
        ),
    ],
)
def test_keys_of_once_for_all(block, keys):
    assert once_for_all_keys(block) == tuple(keys.split())


def test_a_hidden_convolution_is_none_of_the_upstream_projects():
    """Whose table would price the head without it."""
    plain, hidden = (
        Block("h", op, 6, 1, 160, 9, 1, False, "same") for op in (Head(96), Head(96, 128))
    )
    assert len(upstream_keys(plain)) == 2
    assert not set(upstream_keys(hidden)) & set(upstream_keys(plain))


CANDIDATES = tuple(
    MBConv(kernel, expansion, squeeze, activation)
    for kernel in (3, 7)
    for expansion in (3, 6)
    for squeeze in (False, True)
    for activation in ("relu6", "hswish")
)


@pytest.mark.parametrize("resolution", [160, 176, 224, 161])
@pytest.mark.parametrize("form", [json.dumps, yaml.safe_dump])
def test_a_table_of_once_for_all_is_read_beside_it_at_any_resolution(tmp_path, resolution, form):
    """Its own classifier reads 1280 features behind one more convolution; ours is scaled."""
    space = dataclasses.replace(
        proxyless(resolution=resolution, classes=7), candidates=CANDIDATES, head_width=960
    )
    rows = {}
    for block in space.distinct_blocks().values():
        for key in once_for_all_keys(block):
            rows[key] = {"count": 50, "mean": 0.25 + len(rows) / 64, "std": 0.01}
    own = "Logits-input:1x1x960-output:7"
    rows["Logits-input:1x1x1280-output:1000"] = rows.pop(own)
    rows["Conv_2-input:1x1x960-output:1x1x1280"] = {"count": 50, "mean": 99.0, "std": 1.0}
    path = tmp_path / "note10.yaml"
    path.write_text(form(rows))
    table = load_upstream_table(path, space=space, device="Note 10")
    table.check_covers(space)
    ratio = 960 * 7 / (1280 * 1000)
    prices = {key: row["mean"] for key, row in rows.items()}
    prices[own] = prices["Logits-input:1x1x1280-output:1000"] * ratio
    for seed in range(5):
        network = random_architecture(space, seed=seed)
        expected = sum(
            prices[key]
            for block in network.blocks
            if block.layers
            for key in once_for_all_keys(block)
        )
        assert table.predict_ms(network) == pytest.approx(expected)
    assert "scaled by MACs from 'Logits-input:1x1x1280-output:1000'" in table.origin


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no latency table"):
        load_upstream_table(tmp_path / "none.yaml", space=proxyless(), device="x")
