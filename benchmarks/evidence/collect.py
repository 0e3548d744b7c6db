"""From the output files of a study to one document, which is all that the report is made of. The
test split is read here, and only here.

A network's test accuracy is kept beside its weights, so that a second report reads it from there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.evidence.plan import HOME, TABLES, Job, jobs
from benchmarks.evidence.work import Workshop
from pnas_tf.data.fitted_options import images_of, search_sizes
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.run.layout import Artifact
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import MBConv

TEST: dict[str, Any] = {"format": "pnas_tf/evidence_test", "version": 1}


def collect(shop: Workshop) -> dict[str, Any]:
    """Everything of a study that the report says, as JSON; jobs that are not finished are named in
    "open"."""
    plan = jobs(shop.study)
    done = {job.name: job for job in plan if shop.finished(job.name)}
    study = shop.study
    document: dict[str, Any] = {
        "name": study.name,
        "title": study.title,
        "tested": study.tested,
        "open": [job.name for job in plan if job.name not in done],
        "data": _settings(study.data),
        "training": _settings(study.training),
        "search": _settings(study.search),
        "reinforce": study.reinforce,
        "derive_networks": study.derive_networks,
        "derive_trained": study.derive_trained,
        "middle": study.middle.name,
        "space": study.space.to_json(),
        "architectures_in_space": study.space.architectures,
    }
    if "networks" in done:
        networks = shop.result("networks") or {}
        by_target = dict(sorted(networks["targets_ms"].items(), key=lambda item: item[1]))
        document |= {"targets_ms": by_target, "passed_over": networks["passed_over"]}
    document["tables"] = {name: _table(shop, name) for name in TABLES if f"table_{name}" in done}
    latency = (shop.result("latency") or {}).get("measured_ms", {})
    document["networks"] = {
        job.name.removeprefix("train_"): _trained(shop, job, latency)
        for job in done.values()
        if job.kind == "train"
    }
    document["searches"] = {
        job.name.removeprefix("search_"): _searched(shop, job)
        for job in done.values()
        if job.kind == "search"
    }
    if ranked := shop.result("ranking"):
        document |= {
            "ranking": ranked["supernet_alpha_accuracy"],
            "ranking_by_loss": ranked.get("supernet_alpha_loss"),
        }
    if "steps" in done:
        document["steps_median_ms"] = (shop.result("steps") or {})["median_ms"]
        # Contenders are trained on the train split alone.
        document["steps_per_epoch"] = {
            "training_part": shop.dataset.steps_per_epoch(
                "train", batch_size=study.training.batch_size
            ),
            "batch_size": study.training.batch_size,
        }
        document["images"] = {
            "weights": shop.dataset.train_size,
            "alpha": shop.dataset.validation_size,
            "test": shop.dataset.test_size,
        }
    return document


def contender_of(name: str) -> tuple[str, str]:
    """(contender, budget or table) of a trained network's name."""
    matched = re.fullmatch(r"(random|uniform|two_path|reinforce)_(\w+)_\d+", name)
    if matched:
        return matched[1], matched[2]
    matched = (
        re.fullmatch(r"(for)_(\w+)_\d+", name)
        or re.fullmatch(r"(spread)_(\d+)", name)
        or re.fullmatch(r"(variant)_(\w+)", name)
    )
    assert matched is not None, name
    return matched[1], matched[2]


def _trained(shop: Workshop, job: Job, latency: dict[str, dict[str, float]]) -> dict[str, Any]:
    result, network = shop.result(job.name) or {}, shop.network(job)
    contender, group = contender_of(job.name.removeprefix("train_"))
    key = job.fact("network")
    row = {
        "contender": contender,
        "group": group,
        "seed": job.fact("seed"),
        "ops": [op.key for op in network.ops],
        "macs": network.macs,
        "parameters": network.parameters,
        "alpha_accuracy": result["alpha_accuracy"],
        "training_accuracy": result["training_accuracy"],
        "cpu_s": result.get("cpu_s"),
        "latency_ms": {form: rows[key] for form, rows in latency.items() if key in rows},
    }
    if shop.study.tested and contender != "variant":
        row["test_accuracy"] = _test_accuracy(shop, job, network)
    return row


def _test_accuracy(shop: Workshop, job: Job, network: Architecture) -> float:
    path = shop.place(job.name) / "test.json"
    if path.exists():
        stored = atomic.read_document(path, **TEST, what="test result", made_by="delete it")
        return value_of(float, stored["test_accuracy"], what=f"accuracy of {path}", fix="Delete it")
    from pnas_tf.networks.network import build_network
    from pnas_tf.training.evaluate import evaluate

    model = build_network(network)
    with np.load(shop.place(job.name) / "weights.npz", allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    found = evaluate(model, shop.dataset.test_batches(batch_size=512))
    atomic.write_json(
        path, {**TEST, "test_accuracy": found.accuracy, "test_images": found.examples}
    )
    return found.accuracy


def _searched(shop: Workshop, job: Job) -> dict[str, Any]:
    from pnas_tf.search.supernet_weights import steps_of

    result = shop.result(job.name) or {}
    compared = result.get(
        "compared", []
    )  # rows of ops, loss and, of derivations that train some on, loss after
    history = atomic.read_json(
        shop.place(job.name) / Artifact.SEARCH_HISTORY,
        what="search history",
        made_by="the search",
    )
    first = job.fact("algorithm") == "two_path" and job.fact("seed") == 0
    kept = (
        "epoch",
        "phase",
        "loss",
        "accuracy",
        "alpha_accuracy",
        "entropy",
        "expected",
        *(("probabilities",) if first else ()),
    )
    network = Architecture.load(shop.place(job.name) / Artifact.ARCHITECTURE)
    sizes = search_sizes(shop.study.search, images_of(shop.dataset))
    rows = cast(dict[str, Any], history)["epochs"]
    return {
        **{
            key: result.get(key)
            for key in (
                "algorithm",
                "budget",
                "table",
                "seed",
                "target_ms",
                "predicted_ms",
                "expected_ms",
                "weight_steps",
                "architecture_steps",
                "cpu_s",
                "wall_s",
            )
        },
        "comparing_steps": len(compared)
        * shop.dataset.steps_per_epoch("validation", batch_size=sizes.batch_size),
        "trained_steps": sum(loss is not None for _, _, *after in compared for loss in after)
        * steps_of(shop.dataset, shop.study.derivation)[1],
        "changes": dict(job.fact("changes")),
        "ops": [op.key for op in network.ops],
        "epochs": [{key: epoch[key] for key in kept} for epoch in rows],
    }


def _table(shop: Workshop, name: str) -> dict[str, Any]:
    """The table's own line, and what kernels 5 and 7 cost: latency over that of the same block with
    kernel 3."""
    table = shop.table(name)
    ratios: dict[str, list[float]] = {"5": [], "7": []}
    for key, block in shop.study.space.distinct_blocks().items():
        if isinstance(block.op, MBConv) and str(block.op.kernel) in ratios:
            twin = dataclasses.replace(block, op=dataclasses.replace(block.op, kernel=3)).key
            if twin in table.entries:
                ratios[str(block.op.kernel)].append(table.share_ms(key) / table.share_ms(twin))
    return {
        "description": table.describe(),
        "dtype": table.identity.dtype,
        "rewrites": list(table.identity.rewrites),
        "over_kernel_3": {
            kernel: {"least": min(values), "median": float(np.median(values)), "most": max(values)}
            for kernel, values in ratios.items()
            if values
        },
    }


def _settings(config: Any) -> dict[str, Any]:
    """The options that differ from their default."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default and field.name != "offline_files"
    }


def home_searches(
    document: Mapping[str, Any], algorithm: str, budget: str
) -> dict[str, dict[str, Any]]:
    """Name -> search of `algorithm` at `budget` for the home target, variants left out."""
    return {
        name: row
        for name, row in document["searches"].items()
        if (row["algorithm"], row["budget"], row["table"]) == (algorithm, budget, HOME)
        and not name.startswith("variant_")
    }


def write_results(documents: list[dict[str, Any]], path: Path) -> Path:
    """results.json: what the report is made of."""
    return atomic.write_json(
        path, {"format": "pnas_tf/evidence", "version": 1, "studies": documents}
    )
