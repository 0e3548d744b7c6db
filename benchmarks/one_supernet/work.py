"""The jobs of `python -m benchmarks.one_supernet`: each returns what it found as a document. The
test split is read by the last training of a network alone, after every choice."""

from __future__ import annotations

import dataclasses
import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.plan import HOME, TABLES, Job, Study
from benchmarks.evidence.studies import STUDIES
from benchmarks.evidence.work import Workshop
from pnas_tf.config import EffectsConfig, OptimizerConfig, SearchConfig
from pnas_tf.io import atomic
from pnas_tf.search.effects import Effects, agreement_of, fit_effects
from pnas_tf.space.architecture import Architecture, ChoiceIndices

RESULT: dict[str, Any] = {"format": "pnas_tf/one_supernet_job", "version": 1}
PUBLISHED = Path(__file__).parents[2] / "docs" / "evidence" / "results.json"
PATHS, IMAGES = EffectsConfig().effect_paths, EffectsConfig().effect_images
MANY_IMAGES = 2500
LONGER = "longer"  # uniform paths, twice the weight steps
REWRITES = TABLES["int8"][1]
DEVICES = ("float32", "int8")  # tables that stand for two devices: they order networks otherwise
FRONT = tuple(np.linspace(0.05, 0.5, 10).tolist())  # budgets between the fastest and the slowest


class Place:
    """A study, one way of sampling and one seed, with the folder of its jobs."""

    def __init__(self, study: str, sampling: str, seed: int, output: Path):
        self.study: Study = STUDIES[study]
        self.sampling, self.seed = sampling, seed
        self.shop = Workshop(self.study, output)
        self.folder = output / study / f"one_shot_{sampling}_{seed}"

    def once(self, name: str, work: Any, *, leaves: str = "") -> dict[str, Any]:
        """The document of a job, made when it is not there. leaves: what a stopped one goes on
        from; nobody knows what CPU time it took then."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            print(f"== {self.folder} {name}", flush=True)
            resumed = bool(leaves) and (self.folder / leaves).exists()
            cpu = time.process_time()
            found = work()
            spent = None if resumed else time.process_time() - cpu
            atomic.write_json(path, {**RESULT, **found, "cpu_s": spent})
        return atomic.read_document(path, **RESULT, what="result", made_by="delete it")

    @property
    def search_config(self) -> SearchConfig:
        """As many weight steps as the study's searches take, by one cosine; with LONGER twice as
        many."""
        search, times = self.study.search, 2 if self.sampling == LONGER else 1
        assert search.warmup_epochs is not None and search.search_epochs is not None
        return dataclasses.replace(
            search,
            algorithm="one_shot",
            sampling="uniform" if self.sampling == LONGER else self.sampling,
            alpha_scale=0.0,
            warmup_epochs=times * search.warmup_epochs,
            search_epochs=times * search.search_epochs,
        )

    def trained_supernet(self) -> dict[str, Any]:
        """Trains it; its search is kept in the folder."""
        from pnas_tf.networks.layers import Normalisation
        from pnas_tf.search.loop import Search
        from pnas_tf.search.objective import SearchTargets
        from pnas_tf.search.quantities import macs_quantity
        from pnas_tf.search.recipe import SearchRecipe
        from pnas_tf.search.targets import Target
        from pnas_tf.supernet.numerics import Numerics
        from pnas_tf.supernet.supernet import Supernet

        space, optimizer, config = self.study.space, OptimizerConfig(), self.search_config
        numerics = Numerics(Normalisation.of(optimizer), optimizer.weight_decay, optimizer.no_decay)
        quantity = macs_quantity(space)
        search = Search(
            Supernet(space, config, numerics=numerics, seed=self.seed),
            self.shop.dataset,
            SearchTargets((Target(quantity, float(np.mean(quantity.range))),), config),
            SearchRecipe(config, optimizer, seed=self.seed),
            folder=self.folder / "search",
        )
        search.run()
        return {"weight_steps": search.loop.step}

    @cached_property
    def weights(self) -> Any:
        from pnas_tf.search.supernet_weights import SupernetWeights

        return SupernetWeights(
            self.folder / "search", self.study.space, optimizer=OptimizerConfig()
        )

    def judged_paths(self) -> dict[str, Any]:
        """Random paths on as many images as the effect model's default, and once more on many."""
        from pnas_tf.search.effect_measurement import judged, random_paths

        paths = random_paths(self.weights.supernet, PATHS, seed=self.seed)
        found = judged(self.weights.supernet, self.shop.dataset, paths, images=IMAGES)
        return {
            "paths": [list(path) for path in paths],
            "losses": found.losses.tolist(),
            "accuracies": found.accuracies.tolist(),
        }

    def effects(self, by: str = "losses") -> Effects:
        """The effect model. by: "losses" or "accuracies", of which the negative is fitted."""
        document = self.once("paths", self.judged_paths)
        paths = [tuple(path) for path in document["paths"]]
        sizes = [len(choice.candidates) for choice in self.study.space.choice_blocks]
        sign = 1 if by == "losses" else -1
        return fit_effects(paths, sign * np.array(document[by]), sizes=sizes)

    def published(self) -> dict[ChoiceIndices, float]:
        """Path -> mean accuracy on the validation split of the networks that the study trained."""
        from pnas_tf.search.derive import path_of

        studies = json.loads(PUBLISHED.read_text())["studies"]
        rows = next(one for one in studies if one["name"] == self.study.name)["networks"].values()
        by_key = {
            op.key: op for choice in self.study.space.choice_blocks for op in choice.candidates
        }
        found: dict[ChoiceIndices, list[float]] = {}
        for row in rows:
            ops = tuple(by_key[key] for key in row["ops"])
            path = path_of(Architecture(self.study.space, ops))
            found.setdefault(path, []).append(row["alpha_accuracy"])
        return {path: float(np.mean(accuracies)) for path, accuracies in found.items()}

    def ranking(self) -> dict[str, Any]:
        """The trained networks by this supernet in several ways."""
        from pnas_tf.search.derive import architecture_of
        from pnas_tf.search.effect_measurement import judged
        from pnas_tf.training.evaluate import evaluate

        paths = list(self.published())
        dataset, supernet = self.shop.dataset, self.weights.supernet
        by_batch = judged(supernet, dataset, paths, images=MANY_IMAGES)
        few = judged(supernet, dataset, paths, images=IMAGES)
        moving, anew = [], []
        for path in paths:
            from pnas_tf.networks.network import build_network

            network = architecture_of(self.study.space, path)
            plain = build_network(network, normalisation=self.weights.normalisation)
            supernet.inherit(plain, path)
            sample = dataset.validation_sample(MANY_IMAGES, batch_size=500)
            moving.append(evaluate(plain, sample).loss)
            own = self.weights.network(network, dataset, batch_size=128)
            anew.append(evaluate(own, sample).loss)
        return {
            "paths": [list(path) for path in paths],
            "few": few.losses.tolist(),
            "batch": by_batch.losses.tolist(),
            "batch_accuracy": by_batch.accuracies.tolist(),
            "moving": moving,
            "reestimated": anew,
        }

    def derived(self) -> dict[str, Any]:
        """A network for each of the study's budgets, without another search."""
        from benchmarks.evidence.contenders import window_ms
        from pnas_tf.search.choice_program import Bound
        from pnas_tf.search.derive import best_few, path_of
        from pnas_tf.search.int8_accuracy import int8_accuracy

        effects, quantity, rows = self.effects(), self.shop.quantity(), {}
        for budget in self.study.budgets:
            began, cpu = time.monotonic(), time.process_time()
            least, most = window_ms(self.shop.target_ms(budget.name))
            few = best_few(
                self.study.space,
                effects.preference,
                bounds=[Bound(quantity, most, least)],
                count=self.study.derive_networks,
            )
            solved = time.process_time() - cpu
            found = self.weights.best_of(
                few,
                self.shop.dataset,
                dataclasses.replace(self.study.derivation, derive_trained=2),
                batch_size=self.search_config.search_batch_size,
                seed=self.seed,
                int8=lambda model, _: int8_accuracy(model, self.shop.dataset, REWRITES),
            )
            losses = [np.inf if loss is None else loss for loss in found.trained_losses]
            best = few[int(np.argmin(losses))]  # by float, as the study's searches
            rows[budget.name] = {
                "ops": [op.key for op in best.ops],
                "architecture": best.to_json(),
                "predicted_ms": quantity.of(path_of(best)),
                "place": few.index(best),
                "int8_accuracies": [one for one in found.int8_accuracies if one is not None],
                "int8_changes": found.best != best,
                "effects_to_losses": agreement_of(
                    np.array([effects.of(path_of(one)) for one in few]), np.array(found.losses)
                ).spearman,
                "solving_cpu_s": solved,
                "cpu_s": time.process_time() - cpu,
                "wall_s": time.monotonic() - began,
            }
        return {"networks": rows}

    def fronts(self) -> dict[str, Any]:
        """Ten budgets on each of two devices, from this one supernet; nothing is trained on."""
        from pnas_tf.search.choice_program import Bound
        from pnas_tf.search.derive import best_few, path_of
        from pnas_tf.search.effect_measurement import judged

        effects, rows = self.effects(), []
        quantities = {name: self.shop.quantity(name) for name in DEVICES}
        for fraction in FRONT:
            for name, quantity in quantities.items():
                least, most = quantity.range
                bound = Bound(quantity, least + fraction * (most - least))
                cpu = time.process_time()
                (best,) = best_few(self.study.space, effects.preference, bounds=[bound], count=1)
                rows.append(
                    {
                        "fraction": fraction,
                        "device": name,
                        "most_ms": bound.most,
                        "path": list(path_of(best)),
                        "ms": {each: q.of(path_of(best)) for each, q in quantities.items()},
                        "solving_cpu_s": time.process_time() - cpu,
                    }
                )
        paths = [tuple(row["path"]) for row in rows]
        losses = judged(self.weights.supernet, self.shop.dataset, paths, images=MANY_IMAGES).losses
        for row, loss in zip(rows, losses, strict=True):
            row["loss"] = float(loss)
        return {"networks": rows}

    def trained(self, budget: str, *, epochs: int | None = None) -> dict[str, Any]:
        """A derived network trained by the study's recipe; from the supernet's weights for so many
        `epochs`."""
        from pnas_tf.training.evaluate import evaluate
        from pnas_tf.training.loop import TrainRecipe, train_network

        rows = self.once("derived", self.derived)["networks"]
        path = self.folder / f"{budget}.json"
        atomic.write_json(path, rows[budget]["architecture"])
        network, training, start = Architecture.load(path), self.study.training, None
        if epochs is not None:
            start = self.weights.network(network, self.shop.dataset, batch_size=128).get_weights()
            training = dataclasses.replace(training, epochs=epochs, learning_rate=0.05)
        trained = train_network(
            network,
            self.shop.dataset,
            TrainRecipe(training, seed=self.seed),
            self.folder / f"training_{budget}_{epochs}",
            initial_weights=start,
        )
        test = evaluate(trained.model, self.shop.dataset.test_batches(batch_size=500))
        return {
            "alpha_accuracy": trained.history[-1]["alpha_accuracy"],
            "test_accuracy": test.accuracy,
            "parameters": network.parameters,
            "macs": network.macs,
        }


def make_table(shop: Workshop, name: str = HOME) -> None:
    """A latency table of the study on this machine, measured once."""
    for kind in ("convert", "table"):
        job = Job(f"{kind}_{name}", kind, facts=(("table", name),), timed=kind == "table")
        if not (shop.place(job.name) / "result.json").exists():
            shop.place(job.name).mkdir(parents=True, exist_ok=True)
            shop.do(job)
