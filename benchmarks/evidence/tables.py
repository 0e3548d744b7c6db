"""The tables and computed sentences of docs/evidence.md, each from one study's collected document.
Knows no files."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.evidence.collect import home_searches
from benchmarks.evidence.figures import best_of, difference, mean_and_error, spearman
from benchmarks.evidence.plan import HOME
from benchmarks.evidence.plots import ranked_pairs
from benchmarks.evidence.step_times import ratio_by_steps

Document = Mapping[str, Any]
NAMES = {
    "two_path": "(a) searched, `two_path`",
    "reinforce": "(b) searched, `reinforce`",
    "random": "(c) random",
    "uniform": "(d) MobileNetV2-style",
    "best": "(e) best of random",
}


def sections(document: Document) -> dict[str, str]:
    """Name of a place in the text -> what stands there; places of parts that have not run say
    so."""
    makers: dict[str, Callable[[Document], str]] = {
        "setting": setting,
        "spread": spread,
        "contenders": contenders,
        "bars": bars,
        "time": search_time,
        "ranking": ranking,
        "chosen": chosen,
        "kernels": kernels,
        "cross": cross_table,
        "targets": targets,
        "variants": variants,
        "open": open_jobs,
    }
    found = {}
    for name, maker in makers.items():
        try:
            found[name] = maker(document)
        except (KeyError, IndexError, statistics.StatisticsError) as error:
            found[name] = f"*Not there yet ({type(error).__name__}: {error}).*"
    return found


def rows_of(document: Document, contender: str, group: str) -> dict[str, dict[str, Any]]:
    """The trained networks of one contender at one budget (or, of specialised ones, for one
    table)."""
    return {
        name: row
        for name, row in document["networks"].items()
        if (row["contender"], row["group"]) == (contender, group)
    }


def setting(document: Document) -> str:
    """Sizes, recipe and machine in words."""
    images, recipe, search, space = (
        document["images"],
        document["training"],
        document["search"],
        document["space"],
    )
    targets = ", ".join(f"{name} {value:.4f} ms" for name, value in document["targets_ms"].items())
    ops = ", ".join(f"k{op['kernel']} e{op['expansion']}" for op in space["candidates"])
    return (
        f"{images['weights']:,} images are the train split, {images['alpha']:,} the "
        "validation split, which trains alpha and judges "
        f"every choice, {images['test']:,} test. "
        f"Space: {sum(stage['blocks'] for stage in space['stages'])} choice blocks in stages of "
        "widths "
        f"{', '.join(str(stage['width']) for stage in space['stages'])} at {space['resolution']} "
        f"px, candidates {ops} and Zero; "
        f"{document['architectures_in_space']:.1e} networks. Options that differ from the "
        f"defaults, training: `{_options(recipe)}`; "
        f"search: `{_options(search)}`"
        + (f"; reinforce: `{_options(document['reinforce'])}`" if document["reinforce"] else "")
        + (
            f"; derivation: `--derive_networks={document['derive_networks']} "
            f"--derive_trained={document['derive_trained']}`"
        )
        + f". Targets: {targets}."
        + f"\n\nTable: {document['tables'][HOME]['description']}."
    )


def spread(document: Document) -> str:
    """Standard deviation over random networks against that over seeds of one, on the validation
    split."""
    middle = document["middle"]
    networks = [100 * row["alpha_accuracy"] for row in rows_of(document, "random", middle).values()]
    seeds = [
        100 * row["alpha_accuracy"]
        for name, row in document["networks"].items()
        if row["contender"] == "spread" or name == f"random_{middle}_0"
    ]
    return (
        f"{len(networks)} random networks of equal latency: {_spread(networks)}. {len(seeds)} "
        f"seeds of one of them: {_spread(seeds)}."
    )


def explorations(documents: Sequence[Document]) -> str:
    """The same of every setting that was tried before the plan was fixed."""
    lines = [
        "| space | data and recipe | target | random networks, validation accuracy | seeds of one "
        "network |",
        "|---|---|---|---|---|",
    ]
    for document in documents:
        middle = document["middle"]
        networks = [
            100 * row["alpha_accuracy"] for row in rows_of(document, "random", middle).values()
        ]
        seeds = [
            100 * row["alpha_accuracy"]
            for name, row in document["networks"].items()
            if row["contender"] == "spread" or name == f"random_{middle}_0"
        ]
        if len(networks) > 1 and len(seeds) > 1:
            target = document["targets_ms"][middle]
            lines.append(
                f"| {document['title']} | `{_options(document['data'])} "
                f"{_options(document['training'])}` | {target:.4f} ms | "
                f"{_spread(networks)} | {_spread(seeds)} |"
            )
    return "\n".join(lines)


def contenders(document: Document) -> str:
    """The main table: one line a contender and budget."""
    lines = [
        "| target | contender | networks | test accuracy, % | validation accuracy, % | float32, "
        "ms | int8, ms | M MACs | k parameters |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for budget, target in document["targets_ms"].items():
        for contender in ("two_path", "reinforce", "random", "uniform"):
            rows = list(rows_of(document, contender, budget).values())
            if rows:
                figures = [
                    _mean([row["latency_ms"].get(form) for row in rows], 4)
                    for form in (HOME, "int8")
                ]
                lines.append(
                    f"| {budget}, {target:.4f} ms | {NAMES[contender]} | {len(rows)} | "
                    f"{_accuracy(rows, 'test_accuracy')} | "
                    f"{_accuracy(rows, 'alpha_accuracy')} | {figures[0]} | {figures[1]} | "
                    f"{statistics.mean(row['macs'] for row in rows) / 1e6:.2f} | "
                    f"{statistics.mean(row['parameters'] for row in rows) / 1e3:.1f} |"
                )
            if contender == "random" and len(rows) > 1:
                count, (mean, error) = best_of_random(document, budget)
                lines.append(
                    f"| | {NAMES['best']} {count} | of {len(rows)} | {100 * mean:.2f} ± "
                    f"{100 * error:.2f} | | | | | |"
                )
    return "\n".join(lines)


def best_of_random(document: Document, budget: str) -> tuple[int, tuple[float, float]]:
    """(how many trainings the compute of a search and its training buys, (expected test accuracy of
    the best by alpha, error))."""
    rows = list(rows_of(document, "random", budget).values())
    count = max(1, round(1 + search_ratio(document, "two_path", budget)))
    return count, best_of(
        count,
        judged_by=[row["alpha_accuracy"] for row in rows],
        values=[row["test_accuracy"] for row in rows],
    )


def search_ratio(document: Document, algorithm: str, budget: str) -> float:
    """Search over training, by steps timed interleaved."""
    row = next(iter(home_searches(document, algorithm, budget).values()))
    epochs = document["training"].get("epochs", 30)
    counts = {
        name: row[name]
        for name in ("weight_steps", "architecture_steps", "comparing_steps", "trained_steps")
    }
    return ratio_by_steps(
        document["steps_median_ms"],
        **counts,
        algorithm=algorithm,
        training_steps=epochs * document["steps_per_epoch"]["training_part"],
    )


def bars(document: Document) -> str:
    """What was asked for, with the figure and whether it is reached."""
    ran = {
        budget: target
        for budget, target in document["targets_ms"].items()
        if all(
            len(rows_of(document, contender, budget)) > 1 for contender in ("two_path", "random")
        )
    }
    lines = [
        "| bar | " + " | ".join(f"{name}, {value:.4f} ms" for name, value in ran.items()) + " |",
        "|---|" + "---|" * len(ran),
    ]
    checks: dict[str, list[str]] = {}
    for budget, target in ran.items():
        found = {
            contender: [
                row["test_accuracy"] for row in rows_of(document, contender, budget).values()
            ]
            for contender in ("two_path", "random", "uniform")
        }
        gain, error = difference(found["two_path"], found["random"])
        _check(
            checks,
            "(a) beats the mean of (c) by two standard errors",
            gain >= 2 * error,
            f"{100 * gain:+.2f} ± {100 * error:.2f} points",
        )
        _, (best, best_error) = best_of_random(document, budget)
        gain = statistics.mean(found["two_path"]) - best
        _check(
            checks,
            "(a) is no worse than (e)",
            gain >= 0,
            f"{100 * gain:+.2f} points (e ± {100 * best_error:.2f})",
        )
        if found["uniform"]:
            gain, error = difference(found["two_path"], found["uniform"])
            mine, theirs = (
                statistics.mean(
                    row["latency_ms"][HOME] for row in rows_of(document, contender, budget).values()
                )
                for contender in ("two_path", "uniform")
            )
            _check(
                checks,
                "(a) is no worse than (d)",
                gain >= 0,
                f"{100 * gain:+.2f} ± {100 * error:.2f} points, at "
                f"{100 * (mine / theirs - 1):+.1f} % of its latency",
            )
        worst = max(
            (
                row["latency_ms"][HOME] / target - 1
                for row in rows_of(document, "two_path", budget).values()
            ),
            key=abs,
        )
        _check(
            checks,
            "(a)'s measured latency is within 5 % of the target",
            abs(worst) <= 0.05,
            f"farthest {100 * worst:+.1f} %",
        )
        ratio = search_ratio(document, "two_path", budget)
        _check(checks, "a search takes at most two trainings", ratio <= 2, f"{ratio:.2f}")
    return "\n".join(
        lines + [f"| {bar} | " + " | ".join(cells) + " |" for bar, cells in checks.items()]
    )


def search_time(document: Document) -> str:
    """Steps timed interleaved, and the ratio by CPU time of the jobs themselves."""
    medians, per_epoch = document["steps_median_ms"], document["steps_per_epoch"]
    steps = ", ".join(
        f"{name.replace('_', '-')} step {value:.1f} ms" for name, value in medians.items()
    )
    lines = [
        "Steps on one core (medians, interleaved in one process; training in batches of "
        f"{per_epoch['batch_size']}): {steps}.",
        "",
        "| search | weight steps | architecture steps | comparing steps | steps of training on | "
        "CPU time of the search | "
        "of one training | ratio by CPU time | ratio by timed steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in ("two_path", "reinforce"):
        for budget in document["targets_ms"]:
            searches = list(home_searches(document, algorithm, budget).values())
            taken = [row["cpu_s"] for row in searches if row["cpu_s"]]
            training = [
                row["cpu_s"]
                for row in rows_of(document, algorithm, budget).values()
                if row["cpu_s"]
            ]
            if searches and training:
                ratio = statistics.mean(taken) / statistics.mean(training) if taken else None
                lines.append(
                    f"| {algorithm}, {budget} | {searches[0]['weight_steps']} | "
                    f"{searches[0]['architecture_steps']} | "
                    f"{searches[0]['comparing_steps']} | {searches[0]['trained_steps']} | "
                    f"{f'{statistics.mean(taken):.0f} s' if taken else '–'} | "
                    f"{statistics.mean(training):.0f} s | "
                    f"{'–' if ratio is None else f'{ratio:.2f}'} | "
                    f"{search_ratio(document, algorithm, budget):.2f} |"
                )
    return "\n".join(lines)


def ranking(document: Document) -> str:
    """Spearman over the middle budget's networks, and over all."""
    if "ranking" not in document:
        raise KeyError("ranking")
    lines = [
        "| the supernet's | networks | number | Spearman (95 % interval) |",
        "|---|---|---|---|",
    ]
    for by, words in (
        ("ranking", "accuracy"),
        ("ranking_by_loss", "cross-entropy with batch statistics, which the derivation compares"),
    ):
        pairs_of = functools.partial(ranked_pairs, document, by=by)
        middle = [pair for contender in NAMES for pair in pairs_of(contender, document["middle"])]
        whole = [
            pair
            for contender in NAMES
            for budget in document["targets_ms"]
            for pair in pairs_of(contender, budget)
        ]
        random = pairs_of("random", document["middle"])
        if whole:
            lines += [
                f"| {words} | {what} | {len(pairs)} | {value:.2f} ({low:.2f} to {high:.2f}) |"
                for what, pairs in (
                    ("middle budget, all contenders", middle),
                    ("middle budget, random", random),
                    ("all budgets, all contenders", whole),
                )
                for value, low, high in [spearman(*zip(*pairs))]
            ]
    return "\n".join(lines)


def chosen(document: Document) -> str:
    """The derived networks, stage by stage."""
    blocks = [stage["blocks"] for stage in document["space"]["stages"]]
    lines = [
        "| network | "
        + " | ".join(
            f"stage {number + 1}, width {stage['width']}"
            for number, stage in enumerate(document["space"]["stages"])
        )
        + " |",
        "|---|" + "---|" * len(blocks),
    ]
    for name, row in document["networks"].items():
        if row["contender"] in ("two_path", "reinforce", "for") or (
            name.startswith("uniform") and row["seed"] == 0
        ):
            parts, start = [], 0
            for count in blocks:
                parts.append(", ".join(_short(key) for key in row["ops"][start : start + count]))
                start += count
            lines.append(f"| {name} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def kernels(document: Document) -> str:
    """What kernels 5 and 7 cost here, by the tables, and how often each was chosen."""
    lines = ["| table | kernel 5 over kernel 3 | kernel 7 over kernel 3 |", "|---|---|---|"]
    for name, table in document["tables"].items():
        cells = [
            f"{entry['median']:.2f} ({entry['least']:.2f} to {entry['most']:.2f})"
            for entry in table["over_kernel_3"].values()
        ]
        lines.append(
            f"| {name} ({table['dtype']}, {'rewrite' if table['rewrites'] else 'no rewrite'}) | "
            + " | ".join(cells)
            + " |"
        )
    shares = [
        f"{NAMES[contender]} {_kernel_shares(document, contender)}"
        for contender in ("two_path", "reinforce", "random")
        if any(row["contender"] == contender for row in document["networks"].values())
    ]
    return (
        "\n".join(lines)
        + "\n\nShares of kernels 3, 5 and 7 among the blocks that are not skipped: "
        + "; ".join(shares)
        + "."
    )


def cross_table(document: Document) -> str:
    """Each specialised group of networks on each target it could run on."""
    groups = {f"searched for {HOME}": rows_of(document, "two_path", document["middle"])}
    groups |= {
        f"searched for {table}": rows_of(document, "for", table)
        for table in document["tables"]
        if table != HOME
    }
    groups = {name: rows for name, rows in groups.items() if rows}
    forms = [name.removeprefix("searched for ") for name in groups]
    lines = [
        "| networks | test accuracy, % | " + " | ".join(f"on {form}, ms" for form in forms) + " |",
        "|---|---|" + "---|" * len(forms),
    ]
    for name, rows in groups.items():
        cells = [_mean([row["latency_ms"][form] for row in rows.values()], 4) for form in forms]
        lines.append(
            f"| {len(rows)} {name} | {_accuracy(list(rows.values()), 'test_accuracy')} | "
            + " | ".join(cells)
            + " |"
        )
    return (
        "\n".join(lines)
        + f"\n\nTarget of each on its own: {document['targets_ms'][document['middle']]:.4f} ms."
    )


def targets(document: Document) -> str:
    """What each contender of the middle budget takes in each form that was measured."""
    forms = ("float32", "float32_plain", "int8")
    lines = [
        "| contender, middle budget | float32 with the rewrite, ms | float32 without, ms | int8 "
        "with it, ms |",
        "|---|---|---|---|",
    ]
    for contender in ("two_path", "reinforce", "random", "uniform"):
        rows = list(rows_of(document, contender, document["middle"]).values())
        if rows:
            cells = [_mean([row["latency_ms"].get(form) for row in rows], 4) for form in forms]
            lines.append(f"| {NAMES[contender]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def variants(document: Document) -> str:
    """Searches with other options at the middle budget, judged on the validation split."""
    lines = [
        "| changed options | expected latency at the end, over target | entropy at the end | "
        "validation accuracy of the derived "
        "network, % |",
        "|---|---|---|---|",
    ]
    for name, row in document["searches"].items():
        plain = row["changes"] or (row["algorithm"], row["budget"], row["table"]) == (
            "two_path",
            document["middle"],
            HOME,
        )
        if plain and name in document["networks"]:
            changed = _options(row["changes"]) if row["changes"] else f"none, seed {row['seed']}"
            lines.append(
                f"| {changed} | "
                f"{row['expected_ms'] / row['target_ms']:.2f} | "
                f"{row['epochs'][-1]['entropy']:.2f} | "
                f"{100 * document['networks'][name]['alpha_accuracy']:.2f} |"
            )
    return "\n".join(lines)


def open_jobs(document: Document) -> str:
    """What has not run."""
    return (
        "Everything of the plan has run."
        if not document["open"]
        else f"Not run: {', '.join(document['open'])}."
    )


def _check(checks: dict[str, list[str]], bar: str, reached: bool, figure: str) -> None:
    checks.setdefault(bar, []).append(f"{'yes' if reached else '**no**'}: {figure}")


def _accuracy(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    mean, error = mean_and_error([100 * row[key] for row in rows])
    return f"{mean:.2f}" + (f" ± {error:.2f}" if error is not None else "")


def _mean(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.{digits}f}" if known else "–"


def _spread(values: Sequence[float]) -> str:
    return (
        f"{statistics.mean(values):.2f} % on average, standard deviation "
        f"{statistics.stdev(values):.2f} points, "
        f"{min(values):.2f} to {max(values):.2f}"
    )


def _options(settings: Mapping[str, Any]) -> str:
    return " ".join(f"--{name}={value}" for name, value in settings.items())


def _short(key: str) -> str:
    return "–" if key == "zero" else key.removeprefix("mbconv_").replace("_", " ")


def _kernel_shares(document: Document, contender: str) -> str:
    keys = [
        key
        for row in document["networks"].values()
        if row["contender"] == contender
        for key in row["ops"]
        if key != "zero"
    ]
    counts = [sum(key.startswith(f"mbconv_k{kernel}_") for key in keys) for kernel in (3, 5, 7)]
    return " / ".join(f"{100 * count / len(keys):.0f} %" for count in counts)
