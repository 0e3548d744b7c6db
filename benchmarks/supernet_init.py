"""How fast a supernet learns from each kind of initial weights, when every step draws another path
(docs/algorithms.md).

    python benchmarks/supernet_init.py

trains the supernet of space tiny on digits with uniformly drawn paths, batch 64, initial rate 0.2,
cosine to zero, once for each kind, and prints the accuracy of each epoch's training batches. Takes
a few minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf.config import DataConfig, OptimizerConfig, SearchConfig

KINDS = {
    "aligned": SearchConfig(alpha_scale=0.0, weights_init="aligned"),
    "he_fout": SearchConfig(alpha_scale=0.0, weights_init="he_fout"),
    "he_fout, fan of all channels (published)": SearchConfig(
        alpha_scale=0.0, weights_init="he_fout", init_div_groups=False
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.search.loop import Search
    from pnas_tf.search.objective import SearchTargets
    from pnas_tf.search.quantities import macs_quantity
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.targets import Target
    from pnas_tf.space.mbconv import tiny
    from pnas_tf.supernet.numerics import Numerics
    from pnas_tf.supernet.supernet import Supernet

    space, optimizer = tiny(), OptimizerConfig()
    dataset = load_dataset(DataConfig(), resolution=space.resolution)
    config = SearchConfig(
        warmup_epochs=options.epochs, search_epochs=1, warmup_learning_rate=options.learning_rate
    )
    targets = [Target(macs_quantity(space), 1e6)]  # guides nothing here: only weights are trained
    for name, kind in KINDS.items():
        supernet = Supernet(
            space,
            kind,
            numerics=Numerics(weight_decay=optimizer.weight_decay),
            seed=options.seed,
        )
        with tempfile.TemporaryDirectory() as folder:
            search = Search(
                supernet,
                dataset,
                SearchTargets(tuple(targets), config),
                SearchRecipe(config, optimizer, seed=options.seed),
                folder=Path(folder),
            )
            search.run()
        warm = (row for row in search.loop.history if row["phase"] == "warmup")
        accuracies = ", ".join(f"{row['accuracy']:.2f}" for row in warm)
        print(f"{name}, {search.steps_per_epoch} steps an epoch: {accuracies}", flush=True)


if __name__ == "__main__":
    main()
