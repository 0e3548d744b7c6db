"""Does one job of the plan, with the library's own search, training and measuring, and returns its
result as a document.

Knows the folder of a study; nothing of workers, order or figures. The test split is never read
here.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence import contenders
from benchmarks.evidence.debian_archives import published_archives
from benchmarks.evidence.plan import HOME, TABLES, Job, Study, jobs
from pnas_tf.config import (
    ConversionConfig,
    DeviceConfig,
    LatencyConfig,
    OptimizerConfig,
    RunConfig,
)
from pnas_tf.io import atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import Artifact
from pnas_tf.search.quantities import Quantity, latency_quantity
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace

RESULT: dict[str, Any] = {"format": "pnas_tf/evidence_job", "version": 1}
TOLERANCE = 0.05  # of measured against target latency
_SPARE = 4  # random networks measured beyond those wanted, for those that miss the tolerance
_INVOCATIONS = 48


class Workshop:
    """A study's folder, its dataset and what finished jobs left there."""

    def __init__(self, study: Study, folder: Path):
        self.study, self.folder = study, folder / study.name

    def place(self, job: str) -> Path:
        """The folder of a job."""
        return self.folder / job

    def result(self, job: str) -> dict[str, Any] | None:
        """What a finished job left, None where it is not finished."""
        path = self.place(job) / "result.json"
        return (
            atomic.read_document(
                path, **RESULT, what="result", made_by="python -m benchmarks.evidence"
            )
            if path.exists()
            else None
        )

    def finished(self, job: str) -> bool:
        """Whether the job has its result, of everything that it was to cover."""
        result = self.result(job)
        return result is not None and (
            "covers" not in result or set(result["covers"]) >= set(self._needs[job])
        )

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        return {job.name: job.needs for job in jobs(self.study)}

    def searches(self, job: Job) -> list[str]:
        """The searches among a job's needs that are finished."""
        return [name for name in job.needs if name.startswith("search_") and self.finished(name)]

    def do(self, job: Job) -> None:
        """Does the job and writes its result."""
        began = time.time()
        result = _KINDS[job.kind](self, job)
        atomic.write_json(
            self.place(job.name) / "result.json",
            {
                **RESULT,
                "job": job.name,
                "kind": job.kind,
                **dict(job.facts),
                "began_unix_s": began,
                "ended_unix_s": time.time(),
                **result,
            },
        )

    @cached_property
    def dataset(self) -> Any:
        from pnas_tf.data.dataset import load_dataset

        data = self.study.data
        if data.offline_files:
            archives = published_archives(data.offline_files)
            data = dataclasses.replace(data, offline_files=str(archives))
        return load_dataset(data, resolution=self.study.space.resolution)

    def table(self, name: str = HOME) -> LatencyTable:
        return LatencyTable.load(self.place(f"table_{name}") / Artifact.LATENCY_TABLE)

    def quantity(self, name: str = HOME) -> Quantity:
        return latency_quantity(self.study.space, self.table(name))

    def target_ms(self, budget: str) -> float:
        """The budget in ms, by the home table whatever the target is."""

        least, most = self.quantity().range
        fraction = next(entry.fraction for entry in self.study.budgets if entry.name == budget)
        return least + fraction * (most - least)

    def network(self, job: Job) -> Architecture:
        """The architecture that a training job trains."""
        name = job.fact("network")
        if job.fact("source") == "networks":
            return Architecture.load(self.place("networks") / f"{name}.json")
        return Architecture.load(self.place(name) / Artifact.ARCHITECTURE)


def _convert(shop: Workshop, job: Job) -> dict[str, Any]:
    """Makes the models of a table beforehand, so that measuring them holds up nobody for long."""
    from pnas_tf.latency.build import convert_ahead

    convert_ahead(
        shop.study.space,
        _table_config(job),
        ConversionConfig(convert_workers=1),
        seed=RunConfig.seed,
        progress=print,
    )
    return {}


def _table_config(job: Job) -> LatencyConfig:
    dtype, rewrites = TABLES[job.fact("table")]
    return LatencyConfig(latency_dtype=dtype, latency_rewrites=rewrites or ("none",))


def _table(shop: Workshop, job: Job) -> dict[str, Any]:
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.build import build_latency_table
    from pnas_tf.latency.measure_sources import MeasurementSetup

    device = DeviceConfig()
    runner = runner_for(device)
    try:
        schedule = schedule_for(device, runner, seed=RunConfig.seed)
        setup = MeasurementSetup(runner, schedule, progress=print)
        table = build_latency_table(
            shop.study.space,
            setup,
            _table_config(job),
            seed=RunConfig.seed,
        )
    finally:
        runner.close()
    table.save(shop.place(job.name) / Artifact.LATENCY_TABLE)
    setup.forget_sessions()
    print(table.describe())
    return {
        "description": table.describe(),
        "kernel7_warnings": table.kernel7_warnings(shop.study.space),
    }


def _networks(shop: Workshop, job: Job) -> dict[str, Any]:
    """Draws the contenders that no search makes, and keeps those whose measured latency is the
    target's."""
    space, quantity, wanted = shop.study.space, shop.quantity(), shop.study.random_networks
    assert isinstance(space, MBConvSpace)  # what uniform blocks are drawn for
    drawn: dict[str, Architecture] = {}
    for number, budget in enumerate(shop.study.budgets):
        target = shop.target_ms(budget.name)
        some = contenders.random_within(space, quantity, target, count=wanted + _SPARE, seed=number)
        drawn |= {f"random_{budget.name}_{index}": network for index, network in enumerate(some)}
        even = (
            contenders.uniform_within(space, quantity, target)[:_SPARE]
            if shop.study.uniform_seeds
            else []
        )
        drawn |= {f"uniform_{budget.name}_{index}": network for index, network in enumerate(even)}
    measured = _measure(shop, drawn, "float32")
    rows, passed_over = {}, []
    for budget in shop.study.budgets:
        target = shop.target_ms(budget.name)
        names_of = {
            "random": [f"random_{budget.name}_{index}" for index in range(wanted)],
            "uniform": [f"uniform_{budget.name}"],
        }
        for kind, names in names_of.items():
            pool = [name for name in drawn if name.startswith(f"{kind}_{budget.name}_")]
            good = [name for name in pool if abs(measured[name] / target - 1) <= TOLERANCE]
            passed_over += [
                {"network": name, "measured_ms": measured[name], "target_ms": target}
                for name in pool
                if name not in good
            ]
            for name, source in zip(names, good):
                drawn[source].save(shop.place(job.name) / f"{name}.json")
                rows[name] = {
                    "measured_ms": measured[source],
                    "predicted_ms": shop.table().predict_ms(drawn[source]),
                    "target_ms": target,
                }
    return {
        "targets_ms": {budget.name: shop.target_ms(budget.name) for budget in shop.study.budgets},
        "networks": rows,
        "passed_over": passed_over,
    }


def _train(shop: Workshop, job: Job) -> dict[str, Any]:
    from pnas_tf.training.loop import TrainRecipe, train_network

    architecture, dataset, folder = shop.network(job), shop.dataset, shop.place(job.name)
    resumed, began, cpu = (folder / "training").exists(), time.monotonic(), time.process_time()
    trained = train_network(
        architecture,
        dataset,
        TrainRecipe(shop.study.training, seed=job.fact("seed")),
        folder / "training",
    )
    seconds = (
        {} if resumed else {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
    )
    np.savez(folder / "weights.npz", *trained.model.get_weights())
    last = trained.history[-1]
    return {
        "alpha_accuracy": last["alpha_accuracy"],
        "alpha_loss": last["alpha_loss"],
        "training_accuracy": last["accuracy"],
        "epochs": len(trained.history),
        **seconds,
    }


def _search(shop: Workshop, job: Job) -> dict[str, Any]:
    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.search.choice_program import Bound
    from pnas_tf.search.derive import best_few, path_of, preference_of
    from pnas_tf.search.loop import Search
    from pnas_tf.search.objective import SearchTargets
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.supernet_weights import SupernetWeights
    from pnas_tf.supernet.numerics import Numerics
    from pnas_tf.supernet.supernet import Supernet

    study, folder, optimizer = shop.study, shop.place(job.name), OptimizerConfig()
    config = dataclasses.replace(
        study.search_config(job.fact("algorithm")), **dict(job.fact("changes"))
    )
    quantity, target = shop.quantity(job.fact("table")), shop.target_ms(job.fact("budget"))
    resumed, began, cpu = (folder / "search").exists(), time.monotonic(), time.process_time()
    supernet = Supernet(
        study.space,
        config,
        numerics=Numerics(Normalisation.of(optimizer), optimizer.weight_decay, optimizer.no_decay),
        seed=job.fact("seed"),
    )
    search = Search(
        supernet,
        shop.dataset,
        SearchTargets((Target(quantity, target),), config),
        SearchRecipe(config, optimizer, seed=job.fact("seed")),
        folder=folder / "search",
    )
    search.run()
    least, most = contenders.window_ms(target)
    few = best_few(
        study.space,
        preference_of(study.space, search.probabilities),
        bounds=[Bound(quantity, most, least)],
        count=study.derive_networks,
    )
    architecture, compared = few[0], []
    if len(few) > 1:
        found = SupernetWeights(folder / "search", study.space, optimizer=optimizer).best_of(
            few,
            shop.dataset,
            study.derivation,
            batch_size=search.sizes.batch_size,
            seed=job.fact("seed"),
        )
        architecture = found.best
        compared = [
            [[op.key for op in one.ops], *losses]
            for one, *losses in zip(few, found.losses, found.trained_losses)
        ]
    seconds = (
        {} if resumed else {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
    )
    architecture.save(folder / Artifact.ARCHITECTURE)
    return {
        "target_ms": target,
        "predicted_ms": quantity.of(path_of(architecture)),
        "weight_steps": search.loop.step,
        "architecture_steps": search.architecture.step,
        "compared": compared,
        "expected_ms": quantity.expected(search.probabilities),
        **seconds,
    }


def _ranking(shop: Workshop, job: Job) -> dict[str, Any]:
    """Accuracy on the validation split of every network for the home target, with the supernet's
    weights, statistics re-estimated; and the cross-entropy that the derivation compares."""
    from pnas_tf.search.supernet_weights import SupernetWeights

    study = shop.study
    weights = SupernetWeights(
        shop.place(job.fact("search")) / "search",
        study.space,
        optimizer=OptimizerConfig(),
    )
    networks = {
        name: Architecture.load(shop.place("networks") / f"{name}.json")
        for name in (shop.result("networks") or {})["networks"]
    }
    searches = shop.searches(job)
    networks |= {
        name: Architecture.load(shop.place(name) / Artifact.ARCHITECTURE) for name in searches
    }
    how: dict[str, Any] = {"dataset": shop.dataset, "batch_size": study.search.search_batch_size}
    return {
        "covers": ["networks", *searches],
        "supernet_alpha_accuracy": {
            name: weights.validation_accuracy(network, **how) for name, network in networks.items()
        },
        "supernet_alpha_loss": {
            name: weights.validation_loss(network, **how) for name, network in networks.items()
        },
    }


def _latency(shop: Workshop, job: Job) -> dict[str, Any]:
    """Every network of the study in one session, in all forms; latency does not depend on the
    weights."""
    networks = {
        path.stem: Architecture.load(path)
        for path in sorted(shop.place("networks").glob("*_*.json"))
    }
    searches = shop.searches(job)
    networks |= {
        name: Architecture.load(shop.place(name) / Artifact.ARCHITECTURE) for name in searches
    }
    return {
        "covers": ["networks", *searches],
        "measured_ms": {form: _measure(shop, networks, form) for form in TABLES},
    }


def _measure(shop: Workshop, networks: Mapping[str, Architecture], form: str) -> dict[str, float]:
    """Measured ms of each network, interleaved, one thread; drift against the home table taken out
    by the reference model."""
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.measure_sources import MeasurementSetup, measure_sources

    dtype, rewrites = TABLES[form]
    device = DeviceConfig(min_invocations=_INVOCATIONS)
    runner = runner_for(device)
    try:
        schedule = schedule_for(device, runner, seed=RunConfig.seed)
        setup = MeasurementSetup(runner, schedule, progress=print)
        session = measure_sources(
            dict(networks),
            setup,
            dtype=dtype,
            rewrites=rewrites,
        )
    finally:
        runner.close()
    setup.forget_sessions()
    sentinel_ms = shop.table().sentinel_ms
    return {name: entry.corrected_ms(sentinel_ms) for name, entry in session.measurements.items()}


def _steps(shop: Workshop, job: Job) -> dict[str, Any]:
    from benchmarks.evidence.step_times import step_times

    study = shop.study
    target = Target(shop.quantity(), shop.target_ms(study.middle.name))
    return step_times(study, shop.dataset, target=target, networks=shop.place("networks"))


_KINDS: dict[str, Callable[[Workshop, Job], dict[str, Any]]] = {
    "convert": _convert,
    "table": _table,
    "networks": _networks,
    "train": _train,
    "search": _search,
    "ranking": _ranking,
    "latency": _latency,
    "steps": _steps,
}
