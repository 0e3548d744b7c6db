"""A search by one call (section 3.2); its result derives architectures (section 3.3).

Knows nothing of run folders, flags, or how the derived network is trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.data.fitted_options import fitted_search, images_of
from pnas_tf.data.run_space import check_channels
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS, MEASURED
from pnas_tf.run.terminal import DETAILS
from pnas_tf.search.device_latency import MeasuredLatency
from pnas_tf.search.loop import Search, check_batches
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.recipe import SearchRecipe, measures_networks, search_identity
from pnas_tf.search.result import SearchResult
from pnas_tf.search.schedule import check_schedule
from pnas_tf.search.start import fitted_start, save_start, start_of
from pnas_tf.search.targets import check_request, search_targets
from pnas_tf.space.base import SearchSpace
from pnas_tf.supernet.engine_choice import check_engine
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.distribution import Distribution, numerics_of

if TYPE_CHECKING:
    import os

    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable

_MODEL_ROUNDS = 2  # a sampled network's latency measured in the loop: of so many rounds


def search_architecture(
    space: SearchSpace,
    dataset: Dataset,
    table: LatencyTable,
    recipe: SearchRecipe = SearchRecipe(),
    *,
    folder: str | os.PathLike,
    distribution: Distribution = Distribution(),
) -> SearchResult:
    """Searches `space` on `dataset`, or continues the search whose checkpoints are in `folder`.

    Args:
        space: what can be searched; its resolution and classes are the dataset's.
        dataset: the search's train split trains the weights, its validation split the architecture.
        table: latencies of the blocks of `space` on the target device, in ms.
        recipe: the options.
        folder: gets history.json, checkpoints/ and TensorBoard events/. One with a search of other
            settings is refused.
        distribution: devices, precision and compilation of the steps (`training.distribution`).

    Returns:
        The finished search. The same arguments give the same result to the bit, however often it
        was stopped on the way.

    Raises:
        UserError: the target is out of reach, the table lacks blocks, the space is of images of
            other channels, a split is smaller than a batch, a batch has no equal part for every
            replica, or alpha would never be trained; before any work.
        Stopped: on SIGTERM or Ctrl-C, after a checkpoint.
    """
    recipe, folder = recipe.started(), Path(folder)
    config = recipe.config
    check_request(config)
    check_channels(space)
    check_batches(config, dataset, distribution.replicas)
    images, replicas = images_of(dataset), distribution.replicas.total
    check_schedule(fitted_search(config, images, replicas=replicas), images)
    numerics = numerics_of(distribution, recipe.optimizer)
    check_engine(config.engine, numerics)
    targets = tuple(search_targets(space, table, config))
    start = start_of(space, dataset, recipe)
    identity = search_identity(space, dataset, recipe, targets, numerics=numerics)
    begins = Checkpoints(folder / CHECKPOINTS).latest() is None
    fitted: dict[str, np.ndarray] = {}
    if start is not None and begins:
        assert recipe.pretrained is not None
        fitted = fitted_start(start, dataset, recipe)
        if distribution.is_chief:
            save_start(start, recipe.pretrained, folder)
    with _measured(space, table, recipe, folder) as measured, distribution.scope():
        supernet = Supernet(space, config, numerics=numerics, seed=recipe.seed, start=start)
        for name, variable in (supernet.named_variables() if fitted else {}).items():
            variable.assign(fitted[name])
        wanted = SearchTargets(targets, config, measured)
        Search(supernet, dataset, wanted, recipe, folder=folder, identity=identity).run()
    return SearchResult(folder, space, dataset, table, recipe)


@contextlib.contextmanager
def _measured(
    space: SearchSpace,
    table: LatencyTable,
    recipe: SearchRecipe,
    folder: Path,
) -> Iterator[MeasuredLatency | None]:
    """Latency of sampled networks measured on the device, where the search asks for it."""
    config, device = recipe.config, recipe.device
    if not measures_networks(config):
        yield None
        return
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import Schedule

    runner = runner_for(device, say=DETAILS)
    schedule = Schedule(
        min_invocations=device.min_invocations,
        warmups=device.warmup_invocations,
        rounds=_MODEL_ROUNDS,
        extra_rounds=_MODEL_ROUNDS,
    )
    try:
        yield MeasuredLatency(
            space, table, runner=runner, schedule=schedule, folder=folder / MEASURED
        )
    finally:
        runner.close()
