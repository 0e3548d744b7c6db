"""The benchmarks that have no tests of their own: what they keep, write and give to programs,
without measuring anything."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import everything
from benchmarks.calibration.__main__ import found
from benchmarks.calibration.calls import Comparison
from benchmarks.one_supernet.__main__ import _made
from benchmarks.one_supernet.correction import rank_on_others
from benchmarks.page import write_page
from benchmarks.pretrained.__main__ import arguments_of
from benchmarks.search_digits import VARIANTS, _target, flags_of_search, flags_of_table
from pnas_tf.config import SearchConfig
from pnas_tf.io import atomic
from pnas_tf.options import check_heeded
from pnas_tf.search.effects import Agreement, Effects
from pnas_tf.steps.programs import PROGRAMS

ROOT = Path(__file__).parents[1]
FLAGS = ["--space=tiny", "--threads=1", "--model_cache=x", "--convert_workers=1"]
FLAGS += ["--calibration_networks=5", "--warmup_epochs=1", "--unknown=1"]


def options_of(command):
    program = next(each for each in PROGRAMS if each.command == command)
    return {field.name for kind in program.configs for field in dataclasses.fields(kind)}


def name(flag):
    return flag.lstrip("-").partition("=")[0]


def test_a_flag_goes_to_the_programs_that_take_it():
    table = {name(flag) for flag in flags_of_table(FLAGS)}
    assert table == {name(flag) for flag in FLAGS[:5]} <= options_of("latency-table")
    shared = ["--space=tiny", "--warmup_epochs=1", "--unknown=1"]
    assert (
        flags_of_search("two_path", FLAGS) == shared
    )  # what nobody knows is refused by the search
    on_device = flags_of_search("reinforce_device", FLAGS)
    assert on_device == ["--space=tiny", "--threads=1", *shared[1:]]
    assert {name(flag) for flag in on_device} - options_of("search") == {"unknown"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_what_its_search_heeds(variant):
    given = dict(flag.lstrip("-").split("=") for flag in VARIANTS[variant])
    check_heeded(SearchConfig(**given))


def test_the_target_is_read_as_the_search_says_it():
    printed = "space tiny\ntarget of the search: 0.00696 ms (latency)\n"
    assert _target(printed) == 0.00696


def test_the_photographs_of_flowers_are_named_where_they_are_a_task(capsys):
    for words in ([], ["--only=flowers,solar"]):
        with pytest.raises(SystemExit):
            arguments_of(words)
        assert "add --flowers=FOLDER" in capsys.readouterr().err
    assert arguments_of(["--only=solar"]).only == ["solar"]
    assert arguments_of(["--flowers=here"]).flowers == Path("here")


def stored():
    return json.loads((ROOT / "benchmarks/results.json").read_text())


def test_the_page_of_costs_is_made_of_its_results(tmp_path):
    flame = tmp_path / "benchmarks_flame.svg"
    page = write_page(stored(), tmp_path / "page.md", flame=flame).read_text()
    assert page == (ROOT / "docs/benchmarks.md").read_text()
    results = stored()
    for result in results.values():
        result["machine"] = {"processor": "X", "cores": 2}
    page = write_page(results, tmp_path / "page.md", flame=flame).read_text()
    assert page.count("processor X, cores 2") == 1
    results["data_wait"]["machine"] = {"processor": "X", "cores": 4}
    page = write_page(results, tmp_path / "page.md", flame=flame).read_text()
    assert page.count("processor X, cores 2") == len(results) - 1
    assert page.count("processor X, cores 4") == 1


def test_a_stopped_run_of_all_benchmarks_keeps_the_figures_that_it_did_not_come_to(
    tmp_path, monkeypatch
):
    path = tmp_path / "results.json"
    atomic.write_json(path, {**stored(), "gone": {"machine": {}}})
    monkeypatch.setattr(everything, "RESULTS", path)
    monkeypatch.setattr("sys.argv", ["everything"])
    renewed = iter([{"machine": {}}])
    monkeypatch.setattr(everything, "_run", lambda name: next(renewed))
    with pytest.raises(StopIteration):
        everything.main()
    first, *others = everything.NAMES
    assert json.loads(path.read_text()) == {
        first: {"machine": {}},
        **{name: stored()[name] for name in others},
    }


def test_the_page_of_calibration_is_of_all_that_is_finished(tmp_path):
    calls = (
        "float32/here",
        "float32/litert_1.4.0",
        "float32/here_from_litert_1.4.0_3",
        "int8/here",
    )
    for call in calls:
        (tmp_path / call).parent.mkdir(exist_ok=True)
        atomic.write_json(tmp_path / f"{call}_took.json", {"seconds": 1.0, "whole": True})
    for begun in ("float32/litert_1.3.0", "float16/here"):
        (tmp_path / begun).parent.mkdir(exist_ok=True)
        atomic.write_json(tmp_path / f"{begun}_took.json", {"begun": 1.0})
    comparisons = found(Comparison(tmp_path, "int8", (), 40, {}))
    assert [(each.dtype, list(each.runtimes)) for each in comparisons] == [
        ("float32", ["litert_1.4.0"]),
        ("int8", []),
    ]


def test_trained_networks_correct_what_a_model_got_wrong():
    """12 of 27 networks without noise: of a model that is right they change nothing; where a block
    is the wrong way round, or nothing else is known, they mend the order."""
    generator = np.random.default_rng(0)
    truth = [np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.3, 0.6]), np.array([0.0, 0.1, 0.2])]
    paths = list(itertools.product(range(3), repeat=3))
    generator.shuffle(paths)
    losses = np.array([sum(b[i] for b, i in zip(truth, path)) for path in paths])

    def effects(blocks):
        pairs = tuple(tuple((0.0,) * 3 for _ in range(3)) for _ in range(2))
        agreement = Agreement(10, 1.0, 1.0, 1.0)
        return Effects(0.0, tuple(map(tuple, blocks)), pairs, 1.0, 0.0, agreement)

    right = rank_on_others(effects(truth), paths, losses, count=12)
    np.testing.assert_allclose(right, 1.0)
    wrong = [truth[0], truth[1], -truth[2]]
    plain, better = rank_on_others(effects(wrong), paths, losses, count=12)
    assert plain < 0.99 < better
    nothing = [np.zeros(3)] * 2 + [-truth[2]]
    plain, better = rank_on_others(effects(nothing), paths, losses, count=12)
    assert plain < 0 and better > 0.8


def test_the_page_of_one_supernet_is_of_all_that_was_made(tmp_path):
    uniform = ("unequal/one_shot_uniform_10", "unequal/one_shot_uniform_2")
    for name in (*uniform, "fashion/one_shot_fair_0"):
        (tmp_path / name).mkdir(parents=True)
        atomic.write_json(tmp_path / name / "paths.json", {})
    (tmp_path / "unequal/one_shot_fair_1").mkdir()  # its supernet is not done
    made = [(place.study.name, place.sampling, place.seed) for place in _made(tmp_path)]
    assert made == [("fashion", "fair", 0), ("unequal", "uniform", 2), ("unequal", "uniform", 10)]
