"""The original project's YAML tables keep their value: the documented key gives our block its
milliseconds."""

import pytest

from pnas_tf.errors import UserError
from pnas_tf.interop.latency_yaml import load_original, original_keys
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import head_block, proxyless, stem_block
from pnas_tf.space.ops import MBConv

# Keys and values as published for the Pixel 1.
PUBLISHED = """
Conv-input:224x224x3-output:112x112x32: {count: 200, mean: 6.0, var: 0.1}
Conv_1-input:7x7x320-output:7x7x1280: {count: 200, mean: 3.0, var: 0.1}
Logits-input:7x7x1280-output:1000: {count: 200, mean: 1.5, var: 0.1}
expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0: {count: 154, mean: 5.26, var: 0.195}
expanded_conv-input:56x56x24-output:56x56x24-expand:6-kernel:5-stride:1-idskip:1: {count: 154, mean: 9.5}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "pixel1.yaml"
    path.write_text(PUBLISHED)
    return path


def test_published_keys_give_our_blocks_their_value(path):
    table = load_original(path, space=proxyless(), device="Pixel 1")
    assert table.latency_ms("mbconv_k3_e3 in=112x112x16 out=56x56x24 s2") == 5.26
    assert table.latency_ms("mbconv_k5_e6 in=56x56x24 out=56x56x24 s1 id") == 9.5
    assert table.latency_ms(stem_block(proxyless()).key) == 6.0
    assert (
        table.latency_ms(head_block(proxyless()).key) == 4.5
    )  # feature-mix convolution and the rest
    assert len(table.entries) == 4
    (visit,) = table.entries["mbconv_k3_e3 in=112x112x16 out=56x56x24 s2"].runs
    assert (visit.statistic, visit.count) == ("mean", 154)
    assert "Pixel 1" in table.describe() and "uncalibrated" in table.describe()


def test_what_the_file_lacks_is_missing_and_not_invented(path):
    table = load_original(path, space=proxyless())
    with pytest.raises(UserError, match="no latency"):
        table.latency_ms("mbconv_k7_e6 in=56x56x24 out=56x56x24 s1 id")
    with pytest.raises(UserError):
        table.check_covers(proxyless())
    path.write_text("\n".join(line for line in PUBLISHED.splitlines() if "Logits" not in line))
    assert head_block(proxyless()).key not in load_original(path, space=proxyless()).entries


def test_a_whole_table_predicts_the_sum_and_round_trips(tmp_path):
    space, path = proxyless(), tmp_path / "whole.yaml"
    keys = sorted(
        {key for block in space.distinct_blocks().values() for key in original_keys(block)}
    )
    path.write_text(
        "".join(f"{key}: {{count: 5, mean: {0.5 + number}}}\n" for number, key in enumerate(keys))
    )
    table = load_original(path, space=space)
    table.check_covers(space)
    network = random_architecture(space, seed=1)
    expected = sum(
        0.5 + keys.index(key)
        for block in network.blocks
        if block.layers
        for key in original_keys(block)
    )
    assert table.predict_ms(network) == pytest.approx(expected)
    assert type(table).load(table.save(tmp_path / "table.json")) == table


def test_every_key_is_made_once():
    keys = [key for block in proxyless().distinct_blocks().values() for key in original_keys(block)]
    assert len(keys) == len(set(keys)) == 70


def test_ops_that_the_original_lacks_have_no_latency():
    block = Block("b", MBConv(3, 3, squeeze_excite=True), 56, 56, 24, 24, 1, True, "same")
    assert original_keys(block) == ("the original has no such op",)


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
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="table"):
        load_original(path, space=proxyless())


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no latency table"):
        load_original(tmp_path / "none.yaml", space=proxyless())
