"""Several hard budgets together, against brute force over every network of a small space."""

import dataclasses
import itertools
import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pnas_tf.config import DeriveConfig, ExportConfig, SearchConfig, SweepConfig
from pnas_tf.errors import UserError
from pnas_tf.run.changes import only_remaking
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.search.budgets import (
    Budget,
    bound_of,
    budgets_of,
    check_budgets,
    ram_quantity,
    size_quantity,
)
from pnas_tf.search.choice_program import Bound, is_possible, largest, smallest, solutions
from pnas_tf.search.conflicts import irreducible
from pnas_tf.search.derivation import Derivation, check_together, limits_of
from pnas_tf.search.derive import (
    architecture_of,
    best_few,
    log_probability,
    path_of,
    preference_of,
)
from pnas_tf.search.file_limits import FileLimits, UntrainedFiles
from pnas_tf.search.learnt import Learnt
from pnas_tf.search.path_list import LENGTHS
from pnas_tf.search.quantities import (
    Quantity,
    Shared,
    latency_quantity,
    macs_quantity,
    parameters_quantity,
)
from pnas_tf.search.targets import Target, latency_budget, search_targets
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.space.registry import named_space
from pnas_tf.steps.derive import DERIVE, SWEEP
from pnas_tf.steps.footprint import FOOTPRINT
from pnas_tf.steps.inputs import Inputs
from pnas_tf.tflite.arena import Lifetime, planned_bytes
from pnas_tf.tflite.footprint import BlockFootprint, Footprint

SPACE = MBConvSpace(
    "small", 16, 4, 8, 8, (Stage(8, 2, 1), Stage(16, 2, 2)), 16, (MBConv(3, 3), MBConv(5, 3))
)
SIZES = [len(choice.candidates) for choice in SPACE.choice_blocks]
PATHS = list(itertools.product(*map(range, SIZES)))
# As in test_derive: the list, a short one and the solver, the solver alone.
EVERY_WAY = pytest.mark.parametrize(
    "lengths",
    [
        pytest.param(LENGTHS, id="list"),
        pytest.param((2,), id="turns", marks=pytest.mark.slow),
        pytest.param((), id="solver", marks=pytest.mark.slow),
    ],
)


@pytest.fixture
def taken_from(lengths, monkeypatch):
    monkeypatch.setattr("pnas_tf.search.choice_program.LENGTHS", lengths)


def footprint(seed: int) -> Footprint:
    """Random bytes; every block holds its input and makes two buffers, of which one goes on."""
    generator = np.random.default_rng(seed)
    names = ("slice", "zeros", "axes")

    def block() -> BlockFootprint:
        inner, output = (int(16 * n) for n in generator.integers(1, 60, 2))
        last = int(generator.integers(1, 3))
        buffers = ((inner, 1, 2), (output, 2, None))
        held = [Lifetime(inner, 1, 2), Lifetime(output, 2, 2)]
        shared = tuple(name for name in names if generator.random() < 0.4)
        return BlockFootprint(
            {"int8": int(generator.integers(50, 900))},
            int(generator.integers(10, 90)),
            planned_bytes(held),
            2,
            last,
            buffers,
            {"int8": shared},
        )

    blocks = {key: block() for key in SPACE.distinct_blocks()}
    constants = {"int8": {name: (int(generator.integers(40, 400)), 24) for name in names}}
    return Footprint(blocks, constants, {"int8": 700}, 300, chain=True)


def by_hand(found: Footprint, path) -> tuple[float, float]:
    """(bytes of the file without its description, of the arena) of a network, counted apart."""
    network = architecture_of(SPACE, path)
    rows = [found.blocks[b.key] for b in network.blocks if not isinstance(b.op, Zero)]
    once = {name for row in rows for name in row.constants["int8"]}
    size = 700 + sum(r.size_bytes["int8"] for r in rows)
    size += sum(found.constants["int8"][name][0] for name in once)
    structures = 300 + sum(r.persistent_bytes for r in rows) + 24 * len(once)
    return size, structures + found.working_bytes(network)


def problem(seed: int):
    generator = np.random.default_rng(seed)
    probabilities = [generator.dirichlet(np.ones(size)) for size in SIZES]
    choices = tuple(generator.uniform(0.01, 1, size) for size in SIZES)
    found = footprint(seed)
    quantities = [
        Quantity("latency", "ms", 0.3, choices, 1.05, 0.02),
        size_quantity(SPACE, found, "int8"),
        ram_quantity(SPACE, found),
        macs_quantity(SPACE),
        parameters_quantity(SPACE),
    ]
    return probabilities, quantities, found, generator


@pytest.mark.parametrize("seed", range(3))
def test_size_and_ram_are_those_counted_by_hand(seed):
    _, (_, size, ram, *_), found, _ = problem(seed)
    texts = []
    for path in PATHS:
        file_bytes, arena = by_hand(found, path)
        texts.append(1000 * size.of(path) - file_bytes)
        assert ram.of(path) * 1000 >= arena - 1e-6
        assert ram.of(path) == pytest.approx(max(arena / 1000, ram.known(path)))
    lengths = [len(str(architecture_of(SPACE, path).to_json())) for path in PATHS]
    assert np.argmin(texts) == np.argmin(lengths)  # what is left is the file's own description


@pytest.mark.slow
@EVERY_WAY
@pytest.mark.parametrize("seed", range(4))
def test_any_budgets_together_equal_brute_force(seed, taken_from):
    probabilities, quantities, _, generator = problem(seed)
    values = [[quantity.of(path) for path in PATHS] for quantity in quantities]
    refused = 0
    for _ in range(3):
        chosen = generator.permutation(len(quantities))[: generator.integers(2, 6)]
        bounds = [
            Bound(quantities[i], float(np.quantile(values[i], generator.uniform(0, 0.5))))
            for i in chosen
        ]
        fitting = [path for path in PATHS if all(bound.holds(path) for bound in bounds)]
        if not fitting:
            refused += 1
            with pytest.raises(UserError, match="budget"):
                best_few(SPACE, preference_of(SPACE, probabilities), bounds=bounds, count=1)
            continue
        (found,) = best_few(SPACE, preference_of(SPACE, probabilities), bounds=bounds, count=1)
        best = max(log_probability(architecture_of(SPACE, p), probabilities) for p in fitting)
        assert log_probability(found, probabilities) == pytest.approx(best, abs=1e-6)
        for bound in bounds:
            rest = [other for other in bounds if other is not bound]
            allowed = [p for p in PATHS if all(other.holds(p) for other in rest)]
            least = min(bound.quantity.of(path) for path in allowed)
            assert smallest(bound.quantity, rest) == pytest.approx(least)
        if bounds[0].quantity is quantities[0]:
            most, whole = (max(map(quantities[0].of, paths)) for paths in (fitting, PATHS))
            found = largest(quantities[0], bounds)
            assert most - 0.0205 * (whole - most) <= found <= most * (1 + 1e-6)


def test_a_limit_between_what_is_known_and_what_is_so_is_refused_soon():
    """7^12 networks seem to keep it, each of which takes a little more than its largest block says:
    it ended in a RuntimeError after minutes."""
    looks = 0
    choices = tuple(1e-4 * np.arange(7.0) for _ in range(12))

    def exact(path):
        nonlocal looks
        looks += 1
        return 100.25 + sum(float(choice[index]) for choice, index in zip(choices, path))

    peaks = tuple(np.full(7, 50.0) for _ in choices)
    ram = Quantity("peak RAM", "kB", 0.0, choices, peaks=peaks, fixed_peak=100.0, exact=exact)
    assert ram.known((0,) * 12) == 100 and ram.of((0,) * 12) == 100.25
    assert is_possible([7] * 12, [Bound(ram, 100.26)])
    for most in (100.0, 100.2):
        looks = 0
        assert not is_possible([7] * 12, [Bound(ram, most)]) and looks < 11_000
    assert smallest(ram, ()) == 100.25


def test_a_network_that_a_list_passed_over_is_no_longer_asked_for():
    """Its whole is more than its blocks say: the solver gave it again and again."""
    ones = (np.ones(2),) * 2
    quantity = Quantity(
        "RAM", "kB", 0.0, (np.zeros(2),) * 2, peaks=ones, exact=lambda path: 9.0 * (path == (0, 0))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pnas_tf.search.choice_program.LENGTHS", (2,))
        found = solutions([np.array([0.0, 1.0]), np.array([0.0, 3.0])], [Bound(quantity, 5.0)])
        assert list(itertools.islice(found, 9)) == [(1, 0), (0, 1), (1, 1)]


def test_two_limits_of_one_latency_are_two_limits():
    """Whose windows touch in a point: the range that is to be used is of the tighter one."""
    space = named_space("tiny", classes=10)
    costs = np.random.default_rng(0).uniform(1, 2, [len(space.choice_blocks), 1])
    choices = [
        cost * np.linspace(0, 1, len(choice.candidates)) ** 1.5
        for cost, choice in zip(costs, space.choice_blocks, strict=True)
    ]
    one, two = (Quantity(name, "ms", 1.0, tuple(choices)) for name in ("one", "two"))
    most = 0.6 * one.range[1]
    asked = [Bound(one, most), Bound(two, 0.95 * most)]
    limits = FileLimits([(Budget("latency_ms", bound.most), bound) for bound in asked])
    learnt = Learnt(space, [np.full(len(choice), 1 / len(choice)) for choice in choices])
    began = time.process_time()
    networks, least = learnt.candidates(limits, DeriveConfig(derive_networks=8), None)
    assert time.process_time() - began < 30  # it took a minute; takes 0.1 s
    assert len(networks) == 8
    for network in networks:
        assert least <= one.of(path_of(network)) <= 0.95 * most
    assert least == pytest.approx(0.95 * 0.95 * most, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_budgets_that_exclude_one_another_are_the_fewest(seed):
    _, quantities, _, generator = problem(seed)
    bounds = [
        Bound(q, float(np.quantile([q.of(p) for p in PATHS], generator.uniform(0, 0.2))))
        for q in quantities
    ]
    # A sixth one, which excludes the latency's: the slowest path alone has so few of it.
    slowest = quantities[0].slowest
    against = tuple(
        np.array([float(i != chosen) for i in range(size)]) for size, chosen in zip(SIZES, slowest)
    )
    bounds.append(Bound(Quantity("distance", "MACs", 0.0, against), 0.5))

    def possible(some):
        return any(all(bound.holds(path) for bound in some) for path in PATHS)

    assert not possible(bounds)
    fewest = irreducible(SPACE, bounds)
    assert not possible(fewest)
    for left_out in fewest:
        assert possible([bound for bound in fewest if bound is not left_out])
    uniform = [np.ones(n) / n for n in SIZES]
    with pytest.raises(UserError) as caught:
        best_few(SPACE, preference_of(SPACE, uniform), bounds=bounds, count=1)
    if len(fewest) > 1:
        assert "together" in caught.value.what
        for bound in fewest:
            least = min(bound.quantity.of(path) for path in PATHS)
            assert bound.quantity.name in caught.value.expected
            assert f"{least:.4g}"[:4] in caught.value.expected


@pytest.mark.slow
@EVERY_WAY
def test_all_networks_come_in_order_and_once(taken_from):
    """Of RAM, of which a network may take more than its largest block says."""
    _, quantities, _, generator = problem(9)
    ram = quantities[2]
    costs = [generator.uniform(0, 100, size) for size in SIZES]
    least = [ram.of(path) for path in PATHS]
    bound = Bound(ram, float(np.quantile(least, 0.2)))
    assert any(ram.known(path) <= bound.most < ram.of(path) for path in PATHS)
    found = list(solutions(costs, [bound]))
    totals = [sum(block[i] for block, i in zip(costs, path)) for path in found]
    assert totals == sorted(totals)
    assert set(found) == {path for path in PATHS if bound.holds(path)} and len(set(found)) == len(
        found
    )


def test_what_blocks_share_is_paid_once():
    zeros = tuple(np.zeros(size) for size in SIZES)
    shared = (Shared(5.0, ((0, 0), (1, 0))),)
    quantity = Quantity("size", "kB", 1.0, zeros, shared=shared)
    assert quantity.of((0, 0, 0, 0)) == quantity.of((0, 1, 0, 0)) == 6.0
    assert quantity.of((1, 1, 0, 0)) == 1.0


@pytest.mark.parametrize(
    "kind, most",
    [
        ("weight", 3.0),
        ("macs", 0.0),
        ("ram_kb", np.inf),
        ("size_kb", "300"),
        ("size_kb", None),
        ("size_kb", True),
    ],
)
def test_what_is_no_budget_is_refused(kind, most):
    with pytest.raises(UserError, match="budget"):
        Budget(kind, most)


@pytest.mark.parametrize("dtype", ["INT8", "float16", "dynamic_int8", ""])
def test_a_budget_is_of_a_file_that_is_budgeted(dtype):
    with pytest.raises(UserError, match="number format") as refused:
        Budget("size_kb", 300, dtype=dtype)
    assert refused.value.expected == "one of int8, float32"


@pytest.mark.parametrize(
    "kind, other",
    [
        ("ram_kb", {"dtype": "float32"}),
        ("macs", {"dtype": "float32"}),
        ("macs", {"table": "phone.json"}),
        ("latency_ms", {"table": 3}),
    ],
)
def test_what_a_kind_of_budget_does_not_have_is_refused(kind, other):
    with pytest.raises(UserError, match=f"(table|number format) of a budget of {kind}"):
        Budget(kind, 300, **other)
    assert Budget(kind, np.float32(300)).most == 300


def test_files_that_break_a_budget_are_told_with_what_the_nearest_takes(monkeypatch):
    """In a space whose arena is known from below alone. What is advised is then accepted."""
    found = dataclasses.replace(footprint(0), chain=False)
    ram = ram_quantity(SPACE, found)
    budget = Budget("ram_kb", 1.5 * max(map(ram.of, PATHS)))
    arenas = {
        str(architecture_of(SPACE, path).ops): budget.most + 0.5 + 0.01 * number
        for number, path in enumerate(PATHS)
    }
    monkeypatch.setattr(FileLimits, "_measured", lambda self, _, network: arenas[str(network.ops)])
    uniform = preference_of(SPACE, [np.full(size, 1 / size) for size in SIZES])

    def few(most):
        bound = Bound(ram, most)
        limits = FileLimits([(dataclasses.replace(budget, most=most), bound)], found)
        limits.check_possible(SPACE)
        return best_few(SPACE, uniform, bounds=[bound], count=2, limits=limits)

    with pytest.raises(UserError, match="whose files keep") as refused:
        few(budget.most)
    tried = re.fullmatch(r"peak RAM ([\d.]+) kB of the nearest of (\d+) .*", refused.value.received)
    least, count = float(tried[1]), int(tried[2])
    assert count == min(len(PATHS), 40)
    assert least == pytest.approx(budget.most + 0.5, abs=0.01 * len(PATHS))
    assert few(least)


def test_ram_that_split_kernels_alone_break_names_the_way_out():
    """Where files have such, and the RAM is among what is refused."""
    space = MBConvSpace("large", 16, 4, 8, 8, (Stage(8, 2, 1),), 16, (MBConv(3, 3), MBConv(7, 3)))
    ram = Quantity(
        "peak RAM", "kB", 9.0, macs_quantity(space).choices, peaks=macs_quantity(space).choices
    )
    for rewrites, most, is_told in ((("auto",), 1.0, True), (("none",), 1.0, False)):
        files = UntrainedFiles(SimpleNamespace(), ExportConfig(rewrites=rewrites), {})
        limits = FileLimits([(Budget("ram_kb", most), Bound(ram, most))], None, files)
        with pytest.raises(UserError, match="fits the budget") as refused:
            limits.check_possible(space)
        assert ("--rewrites=none" in refused.value.fix) is is_told
    macs = macs_quantity(space)
    files = UntrainedFiles(SimpleNamespace(), ExportConfig(), {})
    pairs = [(Budget("ram_kb", 1e12), Bound(ram, 1e12)), (Budget("macs", 1), Bound(macs, 1))]
    with pytest.raises(UserError, match="budget of macs") as refused:
        FileLimits(pairs, None, files).check_possible(space)
    assert "--rewrites" not in refused.value.fix


@pytest.mark.parametrize(
    "derive, also",
    [
        ({"max_macs": 1e9}, ()),
        ({"max_latency_ms": 1e9}, ()),
        ({"max_size_kb": 1e9}, ()),
        ({}, ("phone.json=9",)),
    ],
)
def test_files_of_another_size_are_refused_beside_what_is_judged_at_the_searchs(
    tmp_path, derive, also
):
    """Before the search; parameters are the same at any size."""

    def check(export_resolution, **derive):
        options = [DeriveConfig(**derive), ExportConfig(export_resolution=export_resolution)]
        job = Inputs(RunFolder(tmp_path), Configs([*options, SearchConfig(also=also)]))
        vars(job).update(space=SPACE)
        DERIVE.check(job)

    check(SPACE.resolution, **derive)
    check(None, **derive)
    with pytest.raises(UserError, match="with --export_resolution=64") as refused:
        check(64, **derive)
    assert f"--export_resolution={SPACE.resolution}," in refused.value.fix
    if not also:
        check(64, max_parameters=1e9)


def test_options_of_the_export_ask_for_a_new_footprint_and_derivation(tmp_path):
    """Where budgets are of files; without, the derivation does not look at them."""

    def inputs(step, **changes):
        derive = {"max_ram_kb": 60.0, **changes.pop("derive", {})}
        options = [
            *(kind() for kind in step.configs if kind not in (DeriveConfig, ExportConfig)),
            DeriveConfig(**derive),
            ExportConfig(**changes),
        ]
        job = Inputs(RunFolder(tmp_path / "run"), Configs(options)).only(step.configs)
        vars(job).update(space=SPACE, dataset=SimpleNamespace(identity="images"), seed=0)
        found = {**step.inputs(job), "files": []}
        return json.loads(json.dumps(found))

    for step in (FOOTPRINT, DERIVE):
        before = inputs(step)
        for changes in (
            {"rewrites": ("none",)},
            {"author": "me"},
            {"derive": {"max_size_kb": 900.0, "size_dtype": "float32"}},
        ):
            now = inputs(step, **changes)
            assert now != before and only_remaking(before, now), (step.name, changes)
        assert inputs(step, formats=("int8",)) == before
    free = {"max_ram_kb": None}
    assert inputs(DERIVE, derive=free) == inputs(DERIVE, derive=free, author="me")
    assert only_remaking(inputs(DERIVE, derive=free), inputs(DERIVE))


def test_budgets_of_options():
    config = DeriveConfig(max_size_kb=100, max_macs=5e6, size_dtype="float32")
    assert budgets_of(config) == [
        Budget("size_kb", 100.0, dtype="float32"),
        Budget("macs", 5e6),
    ]
    with pytest.raises(UserError, match="max_ram_kb with --derive=most_probable"):
        check_budgets(DeriveConfig(derive="most_probable", max_ram_kb=64))
    with pytest.raises(UserError, match="max_latency_ms with --derive=most_probable"):
        check_budgets(DeriveConfig(derive="most_probable", max_latency_ms=5))


def test_target_and_sweep_are_limits_beside_the_budgets(tmp_path):
    """They are refused before the search. Where large kernels are the fast ones, the fastest
    network is not the one of fewest MACs."""

    class Priced:
        calibration = None
        check_covers = staticmethod(lambda space: None)
        share_ms = staticmethod(lambda key: 1.0 if "_k5" in key else 2.0)

    least = min(latency_quantity(SPACE, Priced()).of(path) for path in PATHS)
    (fastest,) = [path for path in PATHS if latency_quantity(SPACE, Priced()).of(path) == least]
    target, macs = SearchConfig(target_latency_ms=repr(least)), macs_quantity(SPACE).of(fastest)
    check_together(SPACE, Priced(), target, [Budget("macs", macs)])
    (tmp_path / "latency_table.json").touch()

    def check_sweep(max_macs):
        options = [SearchConfig(), DeriveConfig(max_macs=max_macs), SweepConfig((repr(least),))]
        job = Inputs(RunFolder(tmp_path), Configs(options))
        vars(job).update(space=SPACE, table=Priced())
        SWEEP.check(job)

    check_sweep(macs)
    config = SearchConfig(objective="macs")
    targets = search_targets(SPACE, Priced(), config)
    for most in (None, macs):  # a target in MACs gives way to the sweep's latency, a limit stays
        asked = [] if most is None else [Budget("macs", most)]
        limits = limits_of(SPACE, Priced(), targets, asked, footprint=None, files=None)
        swept = limits.swept(latency_budget(SPACE, Priced(), 2 * least, flag="--sweep"))
        assert [(budget.kind, bound.most) for budget, bound in swept.pairs] == [
            ("latency_ms", 2 * least),
            *(("macs", most) for _ in asked),
        ]
    with pytest.raises(UserError, match="together"):
        check_together(SPACE, Priced(), target, [Budget("macs", 0.999 * macs)])
    with pytest.raises(UserError, match="together"):
        check_sweep(0.999 * macs)


def test_a_limit_takes_the_place_of_the_target_of_the_same_device():
    """Of the search's own or of one of --also, whether the limit is wider or tighter."""

    class Priced:
        calibration = None
        check_covers = staticmethod(lambda space: None)

        def __init__(self, slow):
            self.share_ms = lambda key: 2.0 if slow in key else 1.0

    own, phone, board = (Priced(slow) for slow in ("_k5", "_k3", "_c16"))
    quantities = [
        latency_quantity(SPACE, each, name=name)
        for each, name in ((own, "latency"), (phone, "phone.json"), (board, "board.json"))
    ]
    most = [each.range[1] for each in quantities]
    targets = [Target(each, 0.9 * value) for each, value in zip(quantities, most)]

    def kept(*asked):
        pairs = [(Budget("latency_ms", bound.most), bound) for bound in asked]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pnas_tf.search.derivation.bound_of", lambda budget, *_: made[budget])
            made = dict(pairs)
            asked_budgets = [budget for budget, _ in pairs]
            found = limits_of(SPACE, own, targets, asked_budgets, footprint=None, files=None)
        return [(pair[1].quantity.name, pair[1].most) for pair in found.pairs]

    names = [each.name for each in quantities]
    assert kept() == [(name, 0.9 * value) for name, value in zip(names, most)]
    for number, quantity in enumerate(quantities):
        same = dataclasses.replace(quantity, name="the same by another name")
        for part in (0.85, 0.95):
            wanted = [0.9 * value for value in most]
            wanted[number] = part * most[number]
            found = kept(Bound(same, wanted[number]))
            assert [value for _, value in found] == wanted


def test_a_network_that_is_held_to_nothing_is_compared_with_the_targets(
    tmp_path, monkeypatch, caplog
):
    network = architecture_of(SPACE, [size - 1 for size in SIZES])
    found = SimpleNamespace(derivation=lambda *_, **__: Derivation(network, ()))
    monkeypatch.setattr("pnas_tf.steps.derive.result_of", lambda _: found)
    job = Inputs(RunFolder(tmp_path), Configs([DeriveConfig(derive="most_probable")]))
    own = parameters_quantity(SPACE).of(path_of(network))
    vars(job)["targets"] = [
        Target(macs_quantity(SPACE), network.macs - 1),
        Target(parameters_quantity(SPACE), own),
    ]
    DERIVE.run(job)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("macs") and f"target of {network.macs - 1:.4g}" in said


def test_a_footprint_of_another_space_is_refused():
    found = footprint(0)
    other = SPACE.with_width(2.0)
    with pytest.raises(UserError, match="footprint of space"):
        bound_of(Budget("ram_kb", 64), other, None, found)
