"""One process of searches of 20 steps each, one for each algorithm, then of a training of 10, on
pixels that are made up."""

import json
import os
import sys
import time
import types
from pathlib import Path

import numpy as np


def work(folder: Path, options: dict) -> None:
    """The process: options["ports"] are those of a cluster on this machine, options["index"] this
    worker's place in it."""
    log = os.open(folder / f"log-{options['index']}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if options["ports"]:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in options["ports"]]}
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": cluster, "task": {"type": "worker", "index": options["index"]}}
        )
    sys.exit(main(folder, options))


def main(folder: Path, options: dict) -> int:
    from pnas_tf.config import DistributionConfig, OptimizerConfig, SearchConfig, TrainConfig
    from pnas_tf.run.cluster import WorkerLost
    from pnas_tf.training.distribution import numerics_of, start

    own = DistributionConfig(
        strategy=options["strategy"],
        replicas=options.get("replicas"),
        sync_batch_norm=options.get("sync_batch_norm", True),
        jit_compile=options.get("jit_compile", False),
        mixed_precision=options.get("mixed_precision", "none"),
        worker_timeout_s=options.get("worker_timeout_s", 300),
    )
    started = start(own)
    import kinks  # imports TensorFlow

    from pnas_tf.run.signals import Stopped
    from pnas_tf.search import loop
    from pnas_tf.search.objective import SearchTargets
    from pnas_tf.search.quantities import macs_quantity
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.targets import Target
    from pnas_tf.space.mbconv import MBConvSpace, Stage
    from pnas_tf.space.ops import MBConv
    from pnas_tf.supernet.supernet import Supernet
    from pnas_tf.training.loop import TrainRecipe, train_network

    space = MBConvSpace(
        "micro",
        8,
        10,
        stem_width=8,
        first_width=8,
        stages=(Stage(8, 1, 1), Stage(16, 2, 2)),
        head_width=16,
        candidates=(MBConv(1, 2), MBConv(3, 2)),
        stem_stride=1,
    )
    optimizer = OptimizerConfig(weight_decay=0.01)
    losses: list[float] = []
    seed = options.get("seed", 7)
    numerics = numerics_of(started, optimizer)

    class Watched(loop.Search):
        def train_weights(self, step, images, labels):
            super().train_weights(step, images, labels)
            losses.append(self.means.sums[1])
            time.sleep(options.get("pause_s", 0.0))

        def train_alpha(self, images, labels):
            super().train_alpha(images, labels)
            losses.append(self.architecture.means.sums[3])

    def searched(algorithm: str, place: Path) -> Watched:
        # A smooth regulariser: at the kink of the default one, two orders of addition part for
        # good.
        config = SearchConfig(
            algorithm=algorithm,
            regulariser="multiplicative_log",
            warmup_epochs=0,
            search_epochs=2,
            arch_start_epoch=0,
            arch_interval=1,
            search_batch_size=16,
            rl_networks=2,
            checkpoint_steps=4,
        )
        with kinks.smoothed(), started.scope():
            search = Watched(
                Supernet(space, SearchConfig(weights_init="he_fout"), numerics=numerics, seed=seed),
                MadeUp(),
                SearchTargets((Target(macs_quantity(space), 1e5),), config),
                SearchRecipe(config, optimizer, seed=seed),
                folder=place,
            )
            search.run()
        return search

    try:
        for algorithm in options["algorithms"]:
            losses.clear()
            search = searched(algorithm, folder / algorithm)
            arrays = learnt(search, copies=started.replicas.local > 1)
            np.savez(
                folder / algorithm / f"seen-{options['index']}.npz",
                losses=np.array(losses),
                **arrays,
            )
        if not options.get("trains", True):
            return 0
        with kinks.smoothed():
            trained = train_network(
                search.supernet.architecture_of((0, 1, 1)),
                MadeUp(),
                TrainRecipe(
                    TrainConfig(
                        epochs=1,
                        batch_size=16,
                        dropout=0.2,
                        stochastic_depth=0.3,
                        mixup=0.4,
                        cutmix=1.0,
                        ema_decay=0.9,
                    ),
                    seed=7,
                ),
                folder / "train",
                distribution=started,
            )
    except WorkerLost as error:
        print(error)
        return 75
    except Stopped:
        return 130  # as cli/flags.py
    arrays = {f"trained/{variable.name}": variable.numpy() for variable in trained.model.weights}
    history = [value for row in trained.history for value in row.values()]
    np.savez(folder / "train" / f"seen-{options['index']}.npz", losses=np.array(history), **arrays)
    return 0


def learnt(search, *, copies):
    """Name -> array of everything that a search has learnt; copies: also what the second replica
    holds."""
    variables = search.supernet.named_variables()
    arrays = {f"variable/{name}": variable.numpy() for name, variable in variables.items()}
    arrays |= {f"momentum/{name}": slot.numpy() for name, slot in search.momentum.slots.items()}
    arrays |= {f"alpha/{block}": alpha for block, alpha in enumerate(search.architecture.alphas)}
    if copies:
        arrays |= {
            f"second/{name}": variable.values[1].numpy() for name, variable in variables.items()
        }
    return arrays


class MadeUp:
    """10 batches of 16 images an epoch, of 10 classes."""

    name = fingerprint = "made up"
    validation_split = types.SimpleNamespace(labels=np.arange(160) % 10)

    def steps_per_epoch(self, split, *, batch_size):
        return 160 // batch_size

    def train_batches(self, *, batch_size, seed, epoch, start_batch=0):
        return self._batches(batch_size, [seed, epoch, 0], start_batch)

    def validation_batches(self, *, batch_size, seed, epoch, start_batch=0):
        return self._batches(batch_size, [seed, epoch, 1], start_batch)

    def combined_batches(self, *, batch_size, seed, epoch, start_batch=0):
        return self._batches(batch_size, [seed, epoch, 2], start_batch)

    def fit_batches(self, config, *, seed, epoch, start_batch=0):
        return self.combined_batches(
            batch_size=config.batch_size, seed=seed, epoch=epoch, start_batch=start_batch
        )

    def fit_steps(self, config):
        return self.steps_per_epoch("combined", batch_size=config.batch_size)

    def test_batches(self, *, batch_size):
        """The last batch has no equal part for two."""
        for images, labels in list(self._batches(batch_size, [0], 0))[:3]:
            yield images[: batch_size - 1], labels[: batch_size - 1]

    def _batches(self, batch_size, seed, start_batch):
        import tensorflow as tf

        generator = np.random.default_rng(seed)
        images = generator.standard_normal((160, 8, 8, 3)).astype(np.float32)
        labels = generator.integers(0, 10, 160).astype(np.int32)
        images[:, :, :, 0] += 0.3 * labels[:, None, None]
        for number in range(start_batch, 160 // batch_size):
            here = slice(number * batch_size, (number + 1) * batch_size)
            yield tf.constant(images[here]), tf.constant(labels[here])
