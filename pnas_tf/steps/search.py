"""Learns an architecture on the dataset and for the device whose latency_table.json lies in the run
folder.

  pnas search --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny) and writes search/history.json,
search/checkpoints, architecture.json and derivation.json. Of the most probable architectures that
fit the target latency (--derive_networks), the few that are best with the searched weights are
trained on for a moment (--derive_trained, --derive_train_epochs), and the best of them is taken. A
stopped search goes on from its last checkpoint. With --sweep=0.2,0.3 it also derives one
architecture for each budget, evaluates them with the supernet's weights on the search's validation
split, and writes sweep.json and sweep.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pnas_tf.config import (
    DeviceConfig,
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
)
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact, run_dir_option
from pnas_tf.run.step import Demand, Step
from pnas_tf.run.terminal import DETAILS, say
from pnas_tf.steps.devices import binary_of
from pnas_tf.steps.inputs import OF_SPACE, Inputs
from pnas_tf.steps.latency_table import tell_table


def _on_device(job: Inputs) -> bool:
    """Whether the device itself is asked while the search runs."""
    config = job.configs[SearchConfig]
    return (config.algorithm, config.rl_latency) == ("reinforce", "device")


def tables_read(job: Inputs) -> tuple[Path, ...]:
    """The latency tables behind the targets, the run's own first."""
    from pnas_tf.search.targets import table_files

    others = table_files(job.configs[SearchConfig].also)
    return (job.folder / Artifact.LATENCY_TABLE, *map(Path, others))


# Of the file that `pnas specialise` leaves in a folder of its own.
SPECIALISED: dict[str, Any] = {"format": "pnas_tf/specialised", "version": 1}


def _check_own(job: Inputs) -> None:
    """Raises UserError in a folder that `pnas specialise` has filled: another search would take the
    place of its supernet."""
    path = job.folder / Artifact.SPECIALISED
    if path.exists():
        document = atomic.read_document(
            path, **SPECIALISED, what="origin of a supernet", made_by="pnas specialise"
        )
        raise UserError(
            f"a search in {job.folder.path}",
            expected="a folder of its own",
            received=f"the supernet of {document.get('from')}, which pnas specialise brought",
            fix="Take another --run_dir to search anew. For another budget: "
            f"pnas specialise {run_dir_option(document.get('from'))} --out=FOLDER; pnas train, "
            "export and benchmark go on here.",
        )


def _starts(job: Inputs) -> bool:
    """Whether the supernet starts from the weights of --pretrained."""
    from pnas_tf.data.fitted_options import PRETRAINED

    return bool(job.source) and job.configs[SearchConfig].weights_init in (None, PRETRAINED)


def _reads(job: Inputs) -> tuple[Path, ...]:
    from pnas_tf.interop.pretrained_files import find_pretrained

    binary = binary_of(job) if _on_device(job) else ()
    known = find_pretrained(job.source).files if _starts(job) else ()
    return (*tables_read(job), *binary, *known)


def _check(job: Inputs) -> None:
    _check_own(job)
    from pnas_tf.networks.remapped_space import check_remappable
    from pnas_tf.search.recipe import check_start
    from pnas_tf.search.schedule import check_schedule
    from pnas_tf.search.targets import check_request

    check_request(job.configs[SearchConfig])
    check_schedule(job.fitted().configs[SearchConfig], job.data.sizes)
    check_start(job.configs[SearchConfig], known=bool(job.source))
    if _starts(job):
        check_remappable(job.pretrained.space, job.space, where=job.pretrained.source)
    if _on_device(job) and job.configs[DistributionConfig].strategy == "multi_worker":
        raise UserError(
            "--rl_latency=device with --strategy=multi_worker",
            expected="latencies that every worker knows",
            received="a device of one of them",
            fix="Use --rl_latency=table.",
        )


def _demands(job: Inputs) -> Sequence[Demand]:
    from pnas_tf.data.fitted_options import demands_of, search_sizes

    config = job.configs[SearchConfig]
    return demands_of(config, search_sizes(config, job.data.sizes))


def _begin(job: Inputs) -> None:
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.targets import AUTO
    from pnas_tf.supernet.engine_choice import check_engine
    from pnas_tf.supernet.numerics import Numerics

    jit_compile = job.configs[DistributionConfig].jit_compile
    numerics = Numerics(jit_compile=jit_compile, replicas=job.distribution.replicas)
    check_engine(job.configs[SearchConfig].engine, numerics)
    config, targets = job.configs[SearchConfig], job.targets
    if job.source and not _starts(job):
        say(f"--weights_init={config.weights_init}: the supernet does not start from {job.source}")
    for path in tables_read(job):
        tell_table(LatencyTable.load(path))
    for target in targets:
        name, unit = target.quantity.name, target.quantity.unit
        of = f" ({name})" * (name != unit.lower())
        say(f"target of the search: {target.value:.4g} {unit}{of}")
    if config.objective == "latency" and config.target_latency_ms == AUTO:
        DETAILS(
            "the target is the middle of what the space can do: --target_latency_ms aims "
            "elsewhere, --max_latency_ms holds the derivation alone"
        )


def _run(job: Inputs) -> None:
    from pnas_tf.search.api import search_architecture
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.start import start_lines

    recipe = SearchRecipe(
        job.configs[SearchConfig],
        job.configs[OptimizerConfig],
        job.configs[DeviceConfig],
        job.seed,
        job.pretrained if _starts(job) else None,
        job.configs[RunConfig].tensorboard,
    )
    for line in start_lines(job.space, job.dataset, recipe):
        say(line)
    search_architecture(
        job.space,
        job.dataset,
        job.table,
        recipe,
        folder=job.folder / Artifact.SEARCH,
        distribution=job.distribution,
    )


def _summary(job: Inputs) -> str:
    """What the last epoch found."""
    path = job.folder / Artifact.SEARCH_HISTORY
    document = atomic.read_json(path, what="history of a search", made_by="pnas search")
    rows = cast(Mapping[str, list[Mapping[str, float | None]]], document)["epochs"]
    quantity, last = job.targets[0].quantity, rows[-1]
    parts, accuracy = [f"{number_of(len(rows), 'epoch')}"], last.get("alpha_accuracy")
    if accuracy is not None:
        parts.append(f"sampled networks are right on {100 * accuracy:.1f} % of validation images")
    return ", ".join([*parts, f"expected {quantity.name} {last['expected']:.4g} {quantity.unit}"])


SEARCH: Step[Inputs] = Step(
    "search",
    (
        *OF_SPACE,
        SearchConfig,
        OptimizerConfig,
        DeviceConfig,
        DistributionConfig,
    ),
    _run,
    writes=lambda _: (Artifact.SEARCH_HISTORY,),
    reads=_reads,
    identity=lambda job: {"space": job.space.to_json(), "dataset": job.dataset.identity},
    check=_check,
    begin=_begin,
    summary=_summary,
    demands=_demands,
    asked_by="--algorithm=reinforce --rl_latency=device",
    unused=lambda job: () if _on_device(job) else (DeviceConfig,),
    partial=(Artifact.SEARCH,),
    together=True,
)
