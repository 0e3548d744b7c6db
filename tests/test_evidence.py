"""benchmarks/evidence: its plan, its choice of contenders, its statistics and its report, without
training anything."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.evidence import contenders, report, tables
from benchmarks.evidence.figures import best_of, difference, mean_and_error, spearman
from benchmarks.evidence.plan import Job, jobs
from benchmarks.evidence.studies import STUDIES
from benchmarks.evidence.work import RESULT, Workshop
from benchmarks.evidence.workers import _taken, _work, unfinished
from benchmarks.supernet_effects import fitted
from pnas_tf.io import atomic
from pnas_tf.search.derive import path_of
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

SPACE = MBConvSpace(
    "two_stages",
    16,
    3,
    8,
    8,
    (Stage(8, 2, 1), Stage(16, 2, 2)),
    16,
    tuple(MBConv(k, e) for k in (3, 7) for e in (3, 6)),
)


@pytest.mark.parametrize("name", STUDIES)
def test_every_job_stands_behind_what_it_needs_and_has_a_name_of_its_own(name):
    plan = jobs(STUDIES[name])
    seen = set()
    for job in plan:
        assert set(job.needs) <= seen, job
        assert job.name not in seen
        seen.add(job.name)


def test_random_contenders_are_uniform_over_the_networks_in_the_window():
    quantity = macs_quantity(SPACE)
    every = list(itertools.product(*(range(len(choice)) for choice in quantity.choices)))
    target = float(np.median([quantity.of(path) for path in every]))
    least, most = contenders.window_ms(target)
    inside = [path for path in every if least <= quantity.of(path) <= most]
    assert 5 <= len(inside) <= 100
    drawn = [
        path_of(network)
        for network in contenders.random_within(
            SPACE, quantity, target, count=20 * len(inside), seed=1
        )
    ]
    assert set(drawn) == set(inside)
    # 20 expected in each cell; of uniform draws p is below 1e-5 for one seed in 100,000.
    assert stats.chisquare([drawn.count(path) for path in inside]).pvalue > 1e-5


def test_uniform_contenders_are_mobilenet_blocks_in_the_window_the_evenest_first():
    quantity = macs_quantity(SPACE)
    full = contenders.uniform_network(SPACE, (2, 2))
    assert {op.key for op in full.ops} == {"mbconv_k3_e6"}
    shallow = contenders.uniform_network(SPACE, (1, 2))
    assert [op.key for op in shallow.ops] == [
        "mbconv_k3_e6",
        "zero",
        "mbconv_k3_e6",
        "mbconv_k3_e6",
    ]
    target = quantity.of(path_of(full))
    assert contenders.uniform_within(SPACE, quantity, target)[0] == full
    assert contenders.uniform_within(SPACE, quantity, 2 * target) == []


def test_best_of_is_what_drawing_and_choosing_gives():
    judged, values = [0.3, 0.9, 0.5, 0.1], [30.0, 60.0, 50.0, 20.0]
    brute = np.mean([max(pair)[1] for pair in itertools.combinations(zip(judged, values), 2)])
    assert best_of(2, judged_by=judged, values=values)[0] == pytest.approx(brute)
    assert best_of(4, judged_by=judged, values=values)[0] == 60.0
    mean, error = best_of(1, judged_by=judged, values=values)
    assert (mean, error) == pytest.approx(
        mean_and_error(values)
    )  # the jackknife of a mean is its standard error


def test_means_differences_and_rank_correlations():
    assert mean_and_error([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert mean_and_error([5.0]) == (5.0, None)
    assert difference([1.0, 3.0], [0.0, 2.0]) == (1.0, pytest.approx(math.sqrt(2)))
    left = list(np.random.default_rng(0).normal(size=30))
    assert spearman(left, [-(value**3) for value in left]) == pytest.approx((-1.0, -1.0, -1.0))
    value, low, high = spearman(
        left,
        [
            value + 0.5 * noise
            for value, noise in zip(left, np.random.default_rng(1).normal(size=30))
        ],
    )
    assert -1 < low < value < high < 1


def test_additive_effects_of_candidates_are_found():
    true = [np.array([0.3, -0.1, -0.2]), np.array([0.05, -0.05])]
    offsets = (1.0, 2.0)

    def loss(path, batch):
        return offsets[batch] + sum(effect[index] for effect, index in zip(true, path))

    effects, error = fitted([3, 2], loss, paths=60, batches=2, seed=0)
    for effect, expected in zip(effects, true):
        np.testing.assert_allclose(effect, expected, atol=1e-12)
    assert error < 1e-12
    noise = np.random.default_rng(0).normal(0, 0.1, 1000)
    numbers = iter(range(1000))
    effects, error = fitted(
        [3, 2],
        lambda path, batch: loss(path, batch) + noise[next(numbers)],
        paths=1000,
        batches=2,
        seed=0,
    )
    # A deviation of 1000 numbers is off by 2.2 %, and here by less than 4.5 of that: 7e-6.
    assert error == pytest.approx(0.1 / np.sqrt(1000 / 3), rel=0.1)
    # One of five effects is more than 5 standard errors off for one seed in 350,000.
    assert (
        max(np.abs(effect - expected).max() for effect, expected in zip(effects, true)) < 5 * error
    )


def test_finished_jobs_are_skipped_taken_ones_are_left_alone_and_others_are_done(tmp_path):
    shop = Workshop(STUDIES["fashion"], tmp_path)
    first = [job.name for job in unfinished(shop, timed=False, pattern="*")]
    assert first and all(
        name.startswith("convert_") for name in first
    )  # nothing else is ready in an empty folder
    done = []
    shop.do = lambda job: (done.append(job.name), finish(shop, job.name))
    with _taken(shop.place(first[0])) as mine:
        assert mine
        with _taken(shop.place(first[0])) as again:
            assert not again
        _work(shop, lambda: unfinished(shop, timed=False, pattern="convert_*"))
        assert done == first[1:]
    _work(shop, lambda: unfinished(shop, timed=False, pattern="convert_*"))
    assert (
        sorted(done) == sorted(first) and unfinished(shop, timed=False, pattern="convert_*") == []
    )
    assert [job.name for job in unfinished(shop, timed=True, pattern="*")] == [
        name.replace("convert", "table") for name in first
    ]


def finish(shop, name, **result):
    atomic.write_json(shop.place(name) / "result.json", {**RESULT, **result})


def test_a_wide_job_counts_as_done_when_it_covers_all_that_it_needs(tmp_path):
    shop = Workshop(STUDIES["photographs"], tmp_path)
    latency = next(job for job in jobs(shop.study) if job.name == "latency")
    finish(shop, "networks")
    assert [job.name for job in unfinished(shop, timed=True, pattern="latency")] == []
    finish(shop, latency.needs[1])
    ready = unfinished(shop, timed=True, pattern="latency", partial=True)
    assert ready == [latency] and shop.searches(latency) == [latency.needs[1]]
    finish(shop, "latency", covers=["networks", latency.needs[1]])
    assert not shop.finished("latency")
    finish(shop, "latency", covers=list(latency.needs))
    assert (
        shop.finished("latency")
        and unfinished(shop, timed=True, pattern="latency", partial=True) == []
    )


def document():
    """A study of one budget, whose figures are easy to compute by hand."""
    networks = {}
    for contender, accuracies in (
        ("two_path", [0.90, 0.92]),
        ("random", [0.80, 0.82, 0.84, 0.86]),
        ("uniform", [0.91, 0.93]),
    ):
        for seed, accuracy in enumerate(accuracies):
            networks[f"{contender}_middle_{seed}"] = {
                "contender": contender,
                "group": "middle",
                "seed": seed,
                "ops": ["mbconv_k3_e6", "zero"],
                "macs": 2_000_000,
                "parameters": 50_000,
                "alpha_accuracy": accuracy,
                "test_accuracy": accuracy,
                "cpu_s": 10.0,
                "latency_ms": {"float32": 0.098, "int8": 0.05},
            }
    search = {
        "algorithm": "two_path",
        "budget": "middle",
        "table": "float32",
        "weight_steps": 100,
        "architecture_steps": 50,
        "comparing_steps": 20,
        "trained_steps": 30,
    }
    return {
        "targets_ms": {"middle": 0.1},
        "middle": "middle",
        "networks": networks,
        "searches": {"two_path_middle_0": search},
        "training": {"epochs": 2},
        "steps_median_ms": {"training": 10.0, "weight": 12.0, "two_path": 15.0, "comparing": 2.5},
        "steps_per_epoch": {"training_part": 100, "batch_size": 64},
    }


def test_the_report_counts_bars_by_the_figures():
    text = tables.bars(document())
    rows = {
        line.split("|")[1].strip(): line.split("|")[2].strip() for line in text.splitlines()[2:]
    }
    # 0.91 against 0.83: +8 points, error hypot(1, 1.29)
    assert rows["(a) beats the mean of (c) by two standard errors"] == "yes: +8.00 ± 1.63 points"
    assert rows["(a) is no worse than (d)"].startswith("**no**: -1.00 ± 1.41 points, at +0.0 %")
    assert rows["(a)'s measured latency is within 5 % of the target"] == "yes: farthest -2.0 %"
    assert (
        rows["a search takes at most two trainings"] == "yes: 1.15"
    )  # (100 * 12 + 50 * 15 + 20 * 2.5 + 30 * 10) / (200 * 10)
    # A search of 1.15 trainings and a training buy two; of pairs of four, the better: 82, 84, 86,
    # 84, 86, 86
    assert rows["(a) is no worse than (e)"].startswith("yes: +6.33 points")


def test_the_page_is_what_the_report_makes_of_its_results(tmp_path, monkeypatch):
    """But for the plots and the rank correlations, whose intervals take a second each."""
    monkeypatch.setattr(report, "_plots", lambda *_: None)
    monkeypatch.setattr(tables, "spearman", lambda *_: (0.0, 0.0, 0.0))
    docs = Path(__file__).parents[1] / "docs"
    report.write_document(docs / "evidence/results.json", tmp_path)
    made, stands = (
        re.sub(r"-?\d\.\d\d \(.*\) \|\n", "", (folder / "evidence.md").read_text())
        for folder in (tmp_path, docs)
    )
    assert made == stands


def test_a_report_of_one_study_keeps_the_others_and_what_is_gone_here(tmp_path, monkeypatch):
    made = {"fashion": ["one"], "unequal": []}
    path = report.write_results(
        [{"name": name, "open": jobs, "kept": True} for name, jobs in made.items()],
        tmp_path / "evidence" / "results.json",
    )
    monkeypatch.setattr(report, "write_document", lambda *_: None)

    def studies(**still_open):
        monkeypatch.setattr(
            report,
            "collect",
            lambda shop: {"name": shop.study.name, "open": still_open[shop.study.name]},
        )
        shops = [Workshop(STUDIES[name], tmp_path / "jobs") for name in still_open]
        report.write_report(shops, tmp_path)
        found = json.loads(path.read_text())["studies"]
        return {each["name"]: each.get("kept", False) for each in found}

    assert studies(unequal=["one"]) == {"fashion": True, "unequal": True}
    assert studies(fashion=["one"]) == {"fashion": False, "unequal": True}
    assert studies(two_stages=["one"]) == {"fashion": False, "unequal": True, "two_stages": False}


def test_a_part_that_has_not_run_is_said_to_be_missing():
    found = tables.sections(document())
    assert found["ranking"].startswith("*Not there yet") and found["bars"].startswith("| bar |")
    assert json.dumps(found)


def test_job_facts():
    assert Job("a", "train", facts=(("seed", 3),)).fact("seed") == 3
