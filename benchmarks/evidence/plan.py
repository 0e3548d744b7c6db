"""The plan: what is trained, searched and measured, as data. Knows nothing of how a job is done or
where its files lie.

A study is one task on one search space; its jobs follow from it. Every contender is trained from
scratch with one recipe on the train split alone, so that the validation split may choose among them
and the test split is read once, by the report.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pnas_tf.config import DataConfig, DeriveConfig, SearchConfig, TrainConfig
from pnas_tf.space.base import SearchSpace
from pnas_tf.training.recipe import tuning_of

TABLES = {
    "float32": ("float32", ("split_depthwise",)),
    "float32_plain": ("float32", ()),
    "int8": ("int8", ("split_depthwise",)),
}
HOME = "float32"  # the table of the main comparison


@dataclass(frozen=True)
class Budget:
    """A latency target. fraction: where it lies between the fastest and the slowest network of the
    space, by the table."""

    name: str
    fraction: float


@dataclass(frozen=True)
class Study:
    """One task: data, space, recipe and how many of each contender.

    searches: (algorithm, budget name, seeds). special: (table name, seeds): searches at the middle
    budget for another target. ranked: random networks of the middle budget whose supernet accuracy
    is compared with their trained accuracy. seed_spread: training seeds of one random network at
    the middle budget, which show what a seed alone moves. variants: (name, changed options) of the
    search that were tried at the middle budget, and are judged on the validation split alone.
    tested: whether the report reads the test split; a study that only explores does not.
    derive_networks: how many of the most probable networks in the window the derivation compares,
    derive_trained: how many of the best of them it trains on; less in studies that were searched
    before it did.
    """

    name: str
    title: str
    data: DataConfig
    space: SearchSpace
    training: TrainConfig
    search: SearchConfig
    budgets: tuple[Budget, ...]
    searches: tuple[tuple[str, str, tuple[int, ...]], ...]
    random_networks: int = 8
    uniform_seeds: tuple[int, ...] = (0, 1, 2)
    seed_spread: int = 4
    special: tuple[tuple[str, tuple[int, ...]], ...] = ()
    variants: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    tested: bool = True
    reinforce: dict[str, Any] = field(default_factory=dict)
    derive_networks: int = DeriveConfig.derive_networks
    derive_trained: int = DeriveConfig.derive_trained

    @property
    def derivation(self) -> DeriveConfig:
        """The options of its derivations: trained on at half the training's rate."""
        return DeriveConfig(
            derive_networks=self.derive_networks,
            derive_trained=self.derive_trained,
            derive_batch_size=self.training.batch_size,
            derive_learning_rate=tuning_of(self.training).learning_rate / 2,
        )

    @property
    def middle(self) -> Budget:
        """The budget of whatever is done at one budget only, named so."""
        return next(budget for budget in self.budgets if budget.name == "middle")

    def search_config(self, algorithm: str) -> SearchConfig:
        """The options of a search by `algorithm`."""
        changes = self.reinforce if algorithm == "reinforce" else {}
        return dataclasses.replace(self.search, algorithm=algorithm, **changes)


@dataclass(frozen=True)
class Job:
    """One unit of work with a folder and a result file of its own. timed: its times matter, so
    nothing else may run beside it.

    needs: names of the jobs whose results it reads. facts: what the job's kind must know. wide:
    reads whatever searches are finished, if it is told to be content with that.
    """

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()
    timed: bool = False
    wide: bool = False

    def fact(self, name: str) -> Any:
        return dict(self.facts)[name]


def jobs(study: Study) -> list[Job]:
    """Every job of the study, in an order in which each stands behind what it needs."""
    tables = dict.fromkeys((HOME, *(table for table, _ in study.special)))
    found = [Job(f"convert_{name}", "convert", facts=(("table", name),)) for name in tables]
    found += [
        Job(
            f"table_{name}",
            "table",
            needs=(f"convert_{name}",),
            facts=(("table", name),),
            timed=True,
        )
        for name in tables
    ]
    found.append(Job("networks", "networks", needs=(f"table_{HOME}",), timed=True))
    for budget in study.budgets:
        for number in range(study.random_networks):
            found.append(
                _training(
                    f"random_{budget.name}_{number}",
                    "networks",
                    f"random_{budget.name}_{number}",
                    seed=number,
                )
            )
        for seed in study.uniform_seeds:
            found.append(
                _training(
                    f"uniform_{budget.name}_{seed}", "networks", f"uniform_{budget.name}", seed=seed
                )
            )
    for seed in range(1, study.seed_spread):
        found.append(
            _training(f"spread_{seed}", "networks", f"random_{study.middle.name}_0", seed=seed)
        )
    for algorithm, budget_name, seeds in study.searches:
        for seed in seeds:
            found += _search(
                f"{algorithm}_{budget_name}_{seed}", algorithm, budget_name, HOME, seed
            )
    for variant, changes in study.variants:
        found += _search(
            f"variant_{variant}",
            dict(changes).get("algorithm", "two_path"),
            study.middle.name,
            HOME,
            0,
            changes=changes,
        )
    for table, seeds in study.special:
        for seed in seeds:
            found += _search(f"for_{table}_{seed}", "two_path", study.middle.name, table, seed)
    searched = [job.name for job in found if job.kind == "search"]
    ranked = f"search_two_path_{study.middle.name}_0"
    if ranked in searched:
        home = [
            job.name
            for job in found
            if job.kind == "search"
            and job.fact("table") == HOME
            and job.fact("budget") == study.middle.name
        ]
        found.append(
            Job(
                "ranking",
                "ranking",
                needs=("networks", *home),
                facts=(("search", ranked),),
                wide=True,
            )
        )
    found.append(Job("latency", "latency", needs=("networks", *searched), timed=True, wide=True))
    found.append(Job("steps", "steps", needs=("networks", f"table_{HOME}"), timed=True))
    return found


def _training(name: str, source: str, network: str, *, seed: int) -> Job:
    return Job(
        f"train_{name}",
        "train",
        needs=(source,),
        facts=(("network", network), ("seed", seed), ("source", source)),
    )


def _search(
    name: str,
    algorithm: str,
    budget: str,
    table: str,
    seed: int,
    *,
    changes: tuple[tuple[str, Any], ...] = (),
) -> list[Job]:
    search = Job(
        f"search_{name}",
        "search",
        needs=(f"table_{table}", "networks"),
        facts=(
            ("algorithm", algorithm),
            ("budget", budget),
            ("table", table),
            ("seed", seed),
            ("changes", changes),
        ),
    )
    return [search, _training(name, search.name, search.name, seed=seed)]
