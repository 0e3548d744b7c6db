"""What a step of the search takes against an ordinary training step of the plain network of the
same path.

  python -m benchmarks.step_time --json=step_time.json

takes about 6 minutes on 2 cores. Space `proxyless`, and two of many kinds of candidates; the plain
network (kernel 3, expansion 6 in every block; of most MACs where no MBConv is offered) is one
compiled graph with the same optimizer. Architecture steps are compared with
weight steps on the paths that the same gates make active.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.timing import bar, interleaved, main

if TYPE_CHECKING:
    from pnas_tf.space.base import SearchSpace

# resolution, batch, rounds, the most that a weight step may take of the plain network's.
SIZES = ((64, 32, 24, 1.30), (96, 64, 14, 1.15), (128, 128, 8, 1.08))
TWO_PATH_LIMIT = 1.30  # of a weight step of the same size
GATE_MODES_AT = 64, 32, 12  # a multiple of SAMPLES
SAMPLES = 6
# Space `cifar`: 11 candidates of four kinds a block; `mnv4`: up to 18 forms of one; and Zero, where
# a block may be skipped.
CIFAR = 32, 64, 24, 1.30
MNV4 = 96, 64, 14, 1.15


def weight_step(space: SearchSpace, batch: int, rounds: int) -> dict[str, Any]:
    """Weight step against the plain network."""
    from benchmarks.workload import Workload, plain_step

    work = Workload(space, batch)
    path = work.uniform_path
    plain = plain_step(work.supernet.architecture_of(path), work.images, work.labels)
    return interleaved(
        {"plain": plain, "weight": lambda _: work.weight_step(path)},
        rounds=rounds,
        reference="plain",
    )


def gate_modes(resolution: int, batch: int, rounds: int) -> dict[str, Any]:
    """Architecture step of each gate mode against the weight step of the active paths."""
    from benchmarks.workload import Workload
    from pnas_tf.space.mbconv import proxyless

    work = Workload(proxyless(resolution=resolution), batch)
    work.run_every_candidate()

    def step(mode: str, number: int) -> None:
        seed = number % SAMPLES
        if mode == "weight":
            work.weight_step(work.sample("two_path", seed).active)
        else:
            work.architecture_step(mode, seed)

    modes = ("weight", "two_path", "full", "full_recompute")
    for seed in range(SAMPLES):  # compiled before the first round counts
        for mode in modes:
            step(mode, seed)
    return interleaved(
        {mode: functools.partial(step, mode) for mode in modes}, rounds=rounds, reference="weight"
    )


def run() -> dict[str, Any]:
    """All sizes and modes, with the bars."""
    from pnas_tf.space.mbconv import proxyless
    from pnas_tf.space.mobilenet_v4 import mnv4
    from pnas_tf.space.small_images import cifar

    result: dict[str, Any] = {"bars": []}
    cases: list[tuple[SearchSpace, str, tuple[int, int, int, float]]] = [
        (proxyless(resolution=size[0]), f"{size[0]} px", size) for size in SIZES
    ]
    cases.append((cifar(resolution=CIFAR[0]), f"12 candidates of cifar, {CIFAR[0]} px", CIFAR))
    cases.append((mnv4(resolution=MNV4[0]), f"19 candidates of mnv4, {MNV4[0]} px", MNV4))
    for space, case, (_, batch, rounds, limit) in cases:
        name = f"{case}, batch {batch}"
        result[f"weight step, {name}"] = found = weight_step(space, batch, rounds)
        result["bars"].append(
            bar(f"weight step / plain network, {name}", found["ratio"]["weight"], limit)
        )
    resolution, batch, rounds = GATE_MODES_AT
    result[f"architecture step, {resolution} px, batch {batch}"] = found = gate_modes(
        resolution, batch, rounds
    )
    choices = proxyless().choice_blocks
    # Zero is a candidate that takes no numerics, so what counts is the candidates that have some.
    candidates = sum(
        len([op for op in choice.candidates if op.key != "zero"]) for choice in choices
    ) / len(choices)
    result["bars"] += [
        bar("two_path / weight step", found["ratio"]["two_path"], TWO_PATH_LIMIT),
        bar(
            f"full_recompute / weight step ({candidates:.3g} candidates)",
            found["ratio"]["full_recompute"],
            1.2 * (candidates + 1) / 3,
        ),
    ]
    return result


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
