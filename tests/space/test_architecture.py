"""Architecture and its JSON document: round trips, and refusals that name the place."""

import json

import pytest

from pnas_tf.errors import UserError
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.space.published import PUBLISHED, published
from pnas_tf.space.tree_cells import TREE_EDGES, TreeCellSpace


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_networks_survive_the_file(name, tmp_path):
    path = published(name).save(tmp_path / "architecture.json")
    assert Architecture.load(path) == published(name)
    document = json.loads(path.read_text())
    assert (document["parameters"], document["macs"]) == (
        PUBLISHED[name].parameters,
        PUBLISHED[name].macs,
    )


@pytest.mark.parametrize("seed", range(5))
def test_random_architectures_survive_the_file(seed, tmp_path):
    for space in (proxyless(width=0.5), tiny()):
        architecture = random_architecture(space, seed=seed)
        assert Architecture.load(architecture.save(tmp_path / "a.json")) == architecture
        assert (
            architecture
            == random_architecture(space, seed=seed)
            != random_architecture(space, seed=seed + 1)
        )


def test_random_architectures_are_uniform():
    # 4,000 draws, 3 candidates of interest in block 1 of 7: each count has mean 571 and standard
    # deviation 22; 5 sigma each, 7 counts: false failure below 1e-5. The draws are seeded, so the
    # outcome is always the same.
    counts = {op: 0 for op in tiny().choice_blocks[1].candidates}
    for seed in range(4000):
        counts[random_architecture(tiny(), seed=seed).ops[1]] += 1
    assert all(abs(count - 4000 / 7) < 5 * (4000 * 6 / 49) ** 0.5 for count in counts.values())


def test_architectures_that_compute_the_same_are_told_from_those_that_do_not():
    space = proxyless()
    ops = random_architecture(space, seed=3).ops
    first = next(choice.index for choice in space.choice_blocks if Zero() in choice.candidates)
    kept, other = MBConv(5, 3), MBConv(7, 6)

    def network(a, b):
        return Architecture(space, (*ops[:first], a, b, *ops[first + 2 :]))

    assert network(kept, Zero()) != network(Zero(), kept)
    assert network(kept, Zero()).computation == network(Zero(), kept).computation
    assert (
        len(
            {
                network(*pair).computation
                for pair in [
                    (kept, Zero()),
                    (kept, other),
                    (other, kept),
                    (other, Zero()),
                    (Zero(), Zero()),
                    (kept, kept),
                ]
            }
        )
        == 6
    )


def test_in_cells_every_op_counts():
    space = TreeCellSpace(
        "cells",
        8,
        3,
        start_width=8,
        added_width=4,
        stages=2,
        cells=1,
        head_width=8,
        candidates=TREE_EDGES,
    )
    networks = [random_architecture(space, seed=seed) for seed in range(20)]
    assert (
        len({network.computation for network in networks})
        == len({network.ops for network in networks})
        > 15
    )


def test_wrong_number_of_ops_and_foreign_ops_are_refused():
    ops = random_architecture(tiny(), seed=0).ops
    with pytest.raises(UserError, match="9 ops"):
        Architecture(tiny(), ops[:-1])
    with pytest.raises(UserError, match="choice block 0") as caught:
        Architecture(tiny(), (Zero(), *ops[1:]))  # block 0 changes the width: nothing to skip to
    assert "zero" in caught.value.received
    with pytest.raises(UserError, match="choice block 2"):
        Architecture(tiny(), (*ops[:2], MBConv(9, 6), *ops[3:]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": "pnas_tf/architecture", "version": 2}',
        b'{"format": "other", "version": 1}',
        b'{"format": "pnas_tf/architecture", "version": 1}',
        b'{"format": "pnas_tf/architecture", "version": 1, "ops": [], "space": 3}',
        b"[" * 100000,
        b'{"version": NaN}',
    ],
    ids=lambda content: repr(content[:60]),
)
def test_corrupt_files_are_refused_by_name(content, tmp_path):
    path = tmp_path / "architecture.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Architecture.load(path)
    assert str(path) in str(caught.value)


def test_an_unknown_field_is_refused(tmp_path):
    path = random_architecture(tiny(), seed=1).save(tmp_path / "architecture.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "mine"}))
    with pytest.raises(UserError, match=r"architecture\.json") as caught:
        Architecture.load(path)
    assert "note" in caught.value.received


def test_truncated_anywhere_is_refused(tmp_path):
    path = random_architecture(tiny(), seed=1).save(tmp_path / "architecture.json")
    content = path.read_bytes().rstrip()
    for end in range(0, len(content), 101):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"architecture\.json"):
            Architecture.load(path)


def test_absent_file_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="no architecture at") as caught:
        Architecture.load(tmp_path / "nothing.json")
    assert "search" in caught.value.fix


@pytest.mark.parametrize(
    "op",
    [
        {"op": "mbconv", "kernel": True, "expansion": 3},
        {"op": "mbconv", "kernel": 3.0, "expansion": 3},
        {"op": "mbconv", "kernel": 3, "expansion": 3, "width": 2},
        {"op": ["mbconv"]},
        "mbconv",
        None,
        {"op": "mbconv", "kernel": 3, "expansion": 3, "squeeze_excite": "yes"},
        {"op": "mbconv", "kernel": 3, "expansion": 3, "activation": ["relu6"]},
    ],
    ids=repr,
)
def test_ill_typed_op_names_its_block(op, tmp_path):
    document = random_architecture(tiny(), seed=1).to_json()
    document["ops"][4] = op
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError) as caught:
        Architecture.load(path)
    assert "$.ops[4]" in caught.value.what
