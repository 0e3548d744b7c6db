"""Binary gates: sampling paths and pairs from softmax(alpha), the two-path rescale (sections 3.1
and 3.2.1), and the paths of a supernet without alpha.

Pure functions of arrays in float64 and an explicit random generator. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.special

from pnas_tf.space.architecture import ChoiceIndices

Pair = tuple[int, int]
BY_ALPHA = "alpha"


def generator_at(seed: int, stream: str, step: int) -> np.random.Generator:
    """The random numbers of one step, from the seed, the stream's name and the step's number alone.

    A search that is stopped and continued needs to remember only its step to draw what it would
    have drawn.
    """
    return np.random.Generator(
        np.random.Philox(
            key=[seed % 2**64, int.from_bytes(stream.encode()[:8], "little")],
            counter=[0, 0, 0, step],
        )
    )


def softmax(alpha: np.ndarray) -> np.ndarray:
    """Path probabilities p = exp(alpha) / sum exp(alpha)   (eq. 2). alpha: [candidates]."""
    return scipy.special.softmax(np.asarray(alpha, np.float64))


def entropy(probabilities: Sequence[np.ndarray]) -> float:
    """Mean entropy in nats over the choice blocks; ln(candidates) where alpha is uniform, 0 where
    it is decided."""
    return float(np.mean([np.sum(scipy.special.entr(p)) for p in probabilities]))


def sample_path(
    probabilities: Sequence[np.ndarray], generator: np.random.Generator
) -> ChoiceIndices:
    """One candidate for each choice block, each drawn from its own distribution."""
    return tuple(int(generator.choice(len(p), p=p)) for p in probabilities)


def weight_path(
    probabilities: Sequence[np.ndarray], how: str, *, seed: int, step: int
) -> ChoiceIndices:
    """The path of a weight step.

    Args:
        probabilities: for each choice block [candidates].
        how: BY_ALPHA, by these; "uniform", every candidate equally likely (Guo et al. 2020, section
            3.1); "fair" (`fair_path`).
        seed, step: of the draw.
    """
    sizes = [len(p) for p in probabilities]
    if how == "fair":
        return fair_path(sizes, seed=seed, step=step)
    if how == "uniform":
        probabilities = [np.full(size, 1 / size) for size in sizes]
    return sample_path(probabilities, generator_at(seed, "path", step))


def fair_path(sizes: Sequence[int], *, seed: int, step: int) -> ChoiceIndices:
    """The path of a step under strict fairness (Chu et al. 2021, section 3.3): a block of n
    candidates meets each of them once in every n steps, in an order drawn anew for each round.

    Each path's update is taken at once; Chu et al. add up the gradients of a round first. Blocks
    with other numbers of candidates have rounds of their own. sizes: candidates of each block.
    """
    path = []
    for block, size in enumerate(sizes):
        number, place = divmod(step, size)
        order = generator_at(seed, f"fair{block}", number).permutation(size)
        path.append(int(order[place]))
    return tuple(path)


def sample_pair(probabilities: np.ndarray, generator: np.random.Generator) -> Pair:
    """Two different candidates: the first drawn from p, the second from p without the first.

    A block with one candidate has no pair: (0, 0).
    """
    if len(probabilities) == 1:
        return (0, 0)
    first = int(generator.choice(len(probabilities), p=probabilities))
    rest = probabilities.copy()
    rest[first] = 0.0
    if rest.sum() <= 0.0:  # p is one-hot to the last bit; every other candidate is equally unlikely
        rest[:] = 1.0
        rest[first] = 0.0
    return first, int(generator.choice(len(rest), p=rest / rest.sum()))


def rescale(before: np.ndarray, after: np.ndarray, sampled: Sequence[int]) -> np.ndarray:
    """alpha with the sampled entries of `after` shifted so that their sum of exp is that of
    `before`.

    The probability of every unsampled candidate is then unchanged (section 3.2.1): both sampled
    alphas are lowered by log(sum exp(after) / sum exp(before)).
    """
    index = list(dict.fromkeys(sampled))
    shifted = np.array(after, np.float64)
    # log(sum exp(after) / sum exp(before)), of the sampled entries
    logsumexp = scipy.special.logsumexp
    shifted[index] -= logsumexp(shifted[index]) - logsumexp(np.asarray(before[index], np.float64))
    return shifted
