"""net.config: the published networks round trip, and anything else is refused with its block
named."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream_writer import save_upstream, to_upstream

from pnas_tf.errors import UserError
from pnas_tf.interop.net_config import (
    UpstreamNetwork,
    from_upstream,
    load_upstream,
)
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.ops import Zero
from pnas_tf.space.published import PUBLISHED, published

FACTS = json.loads((Path(__file__).parents[1] / "space" / "published_facts.json").read_text())[
    "networks"
]


def network(name: str) -> UpstreamNetwork:
    return UpstreamNetwork(
        published(name), bn_momentum=0.9, bn_epsilon=1e-3, dropout=PUBLISHED[name].dropout
    )


@pytest.mark.parametrize("name", sorted(FACTS))
def test_published_networks_round_trip(name, tmp_path):
    path = save_upstream(tmp_path / f"{name}.config", network(name))
    assert load_upstream(path, resolution=224) == network(name)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_document_written_from_the_facts_reads_as_the_published_network(name):
    """The document is made here, field by field from the published rows, not by our writer."""
    facts = FACTS[name]
    blocks = []
    for kernel, expansion, in_channels, out_channels, stride, *_ in facts["blocks"]:
        conv = (
            {"name": "ZeroLayer", "stride": 1}
            if kernel is None
            else {
                "name": "MBInvertedConvLayer",
                "in_channels": in_channels,
                "out_channels": out_channels,
                "kernel_size": kernel,
                "stride": stride,
                "expand_ratio": expansion,
            }
        )
        identity = {
            "name": "IdentityLayer",
            "in_channels": in_channels,
            "out_channels": out_channels,
            "use_bn": False,
            "act_func": None,
            "dropout_rate": 0,
            "ops_order": "weight_bn_act",
        }
        shortcut = identity if stride == 1 and in_channels == out_channels else None
        blocks.append(
            {
                "name": "MobileInvertedResidualBlock",
                "mobile_inverted_conv": conv,
                "shortcut": shortcut,
            }
        )
    last = facts["blocks"][-1][3]
    document = {
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": 0.001},
        "blocks": blocks,
        "first_conv": {
            "name": "ConvLayer",
            "kernel_size": 3,
            "stride": 2,
            "in_channels": 3,
            "out_channels": facts["stem_width"],
            "act_func": "relu6",
            "use_bn": True,
        },
        "feature_mix_layer": {
            "name": "ConvLayer",
            "kernel_size": 1,
            "stride": 1,
            "in_channels": last,
            "out_channels": facts["head_width"],
        },
        "classifier": {
            "name": "LinearLayer",
            "in_features": facts["head_width"],
            "out_features": 1000,
            "bias": True,
            "dropout_rate": 0,
        },
    }
    read = from_upstream(document, where="facts", name=name, resolution=224)
    assert read.architecture == published(name)
    assert (read.architecture.parameters, read.architecture.macs) == (
        facts["parameters"],
        facts["macs"],
    )
    assert (read.bn_momentum, read.bn_epsilon) == (0.9, 1e-3)
    ours = to_upstream(read)
    for theirs, mine in zip(blocks, ours["blocks"], strict=True):
        assert {
            key: mine["mobile_inverted_conv"][key] for key in theirs["mobile_inverted_conv"]
        } == theirs["mobile_inverted_conv"]
        assert (mine["shortcut"] is None) == (theirs["shortcut"] is None)


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_keep_their_blocks(seed):
    """Stages are not in the file, so the space may be cut differently; the network is the same row
    by row."""
    for space in (proxyless(width=0.5, resolution=96, classes=12), tiny()):
        symmetric = dataclasses.replace(space, padding="symmetric")
        architecture = random_architecture(symmetric, seed=seed)
        read = from_upstream(
            json.loads(json.dumps(to_upstream(UpstreamNetwork(architecture, 0.9, 1e-3, 0.0)))),
            where="x",
            name=space.name,
            resolution=space.resolution,
        )
        assert read.architecture.blocks == architecture.blocks


DOCUMENT = to_upstream(network("proxyless_mobile"))
FIRST_ZERO = 1 + next(
    index for index, op in enumerate(published("proxyless_mobile").ops) if isinstance(op, Zero)
)


def changed(path: tuple, value) -> dict:
    document = copy.deepcopy(DOCUMENT)
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("blocks", 5, "mobile_inverted_conv", "kernel_size"), 4, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "kernel_size"), None, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "kernel_size"), [3, 3], "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "expand_ratio"), 0.5, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "expand_ratio"), 99, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "mid_channels"), 100, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "in_channels"), 24, "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "act_func"), "tanh", "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "act_func"), ["relu6"], "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "use_se"), "no", "block 5"),
        (("blocks", 5, "mobile_inverted_conv", "name"), "DepthConvLayer", "block 5"),
        (("blocks", 5, "mobile_inverted_conv"), None, "block 5"),
        (("blocks", 5), 7, "block 5"),
        (("blocks", 5, "name"), "ResBlock", "block 5"),
        (("blocks", 6, "shortcut"), None, "block 6"),
        (("blocks", 5, "shortcut"), {"name": "IdentityLayer"}, "block 5"),
        (("blocks", 6, "shortcut", "name"), "ConvLayer", "block 6"),
        (("blocks", FIRST_ZERO, "shortcut"), None, f"block {FIRST_ZERO}"),
        (("blocks", FIRST_ZERO, "mobile_inverted_conv", "stride"), 2, f"block {FIRST_ZERO}"),
        (("blocks", 0, "mobile_inverted_conv", "kernel_size"), 5, "block 0"),
        (("blocks",), {}, "blocks"),
        (("blocks",), [], "blocks"),
        (("blocks",), "x" * 10, "blocks"),
        (("first_conv", "kernel_size"), 5, "first_conv"),
        (("first_conv", "act_func"), "h_swish", "first_conv"),
        (("first_conv", "use_bn"), 1, "first_conv"),
        (("first_conv",), None, "first_conv"),
        (("feature_mix_layer", "in_channels"), 321, "feature_mix_layer"),
        (("feature_mix_layer", "stride"), 2, "feature_mix_layer"),
        (("classifier", "in_features"), 1000, "classifier"),
        (("classifier", "out_features"), True, "classifier"),
        (("classifier", "dropout_rate"), 1.5, "classifier"),
        (("classifier", "bias"), False, "classifier"),
        (("classifier", "use_bn"), True, "classifier"),
        (("classifier", "act_func"), "relu6", "classifier"),
        (("first_conv", "name"), "DepthConvLayer", "first_conv"),
        (("first_conv", "ops_order"), "bn_act_weight", "first_conv"),
        (("bn", "momentum"), "fast", "bn"),
        (("bn",), [], "bn"),
    ],
    ids=str,
)
def test_refused_by_name(path, value, named):
    with pytest.raises(UserError) as caught:
        from_upstream(changed(path, value), where="net.config", name="x", resolution=224)
    assert named in caught.value.what and "net.config" in caught.value.what
    assert caught.value.expected and caught.value.fix


def test_corrupt_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "net.config"
    with pytest.raises(UserError, match=r"no net\.config"):
        load_upstream(path, resolution=224)
    for content in (b"", b"{", b"[]", b"3", b"\xff", json.dumps(DOCUMENT).encode()[:-30]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"net\.config"):
            load_upstream(path, resolution=224)


def leaves(part, path=()):
    items = (
        part.items()
        if isinstance(part, dict)
        else enumerate(part)
        if isinstance(part, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(path=st.sampled_from(sorted(leaves(DOCUMENT), key=str)), value=JUNK)
@pytest.mark.slow
def test_any_change_loads_or_is_refused(path, value):
    try:
        from_upstream(changed(path, value), where="net.config", name="x", resolution=224)
    except UserError as error:
        assert error.what and error.expected and error.received and error.fix
