"""Whether a supernet has learnt: what random paths answer on the search's validation split, beside
what the frequencies of its classes alone would give.

Two bounds hold for every network that knows nothing of an image's class, whatever it answers, on n
images whose classes have these frequencies:

- its answers are right at most as often as the most frequent class, q, so that P(accuracy >= a) <=
  exp(-n KL(a, q)) for a > q (Hoeffding 1963, theorem 1);
- the product over the images of its probability of the right class by that class's frequency has
  mean 1, so that P(n (cross-entropy of the frequencies - its own) >= t) <= exp(-t) (Markov).

By Jensen's inequality both hold for means over paths that answer the same images too. A supernet
has learnt where one of the two is at most FALSE_ALARM / 2, and is no better than chance where both
are above DOUBT / 2; between these, as with a handful of images, nobody knows. Knows neither
supernets nor TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from pnas_tf.errors import number_of
from pnas_tf.io import Json
from pnas_tf.io.serialization import value_of

FALSE_ALARM = 0.01  # how often a supernet that knows nothing passes for one that has learnt
DOUBT = 0.5  # chance gives a better result more often than that: there is nothing to see
BEFORE_ALPHA, AT_THE_END = "before the first architecture step", "at the end of the search"
SEARCHED, DRAW = "searched", "a draw"
DRAW_WITHIN_BUDGET = f"{DRAW} within the budget"
_LOWER_RATE = "What helps: a lower --search_learning_rate"
_UNKNOWN_START = "whether it had learnt when alpha started, so few images do not tell"


@dataclass(frozen=True)
class Judgement:
    """A supernet at one moment of its search.

    Attributes:
        when: BEFORE_ALPHA or AT_THE_END.
        weight_steps: taken until then.
        steps_per_candidate: how many of them a candidate had, on the average.
        paths: how many answered, each drawn from the path probabilities.
        images: of the validation split; each path answered all of them.
        accuracy: top-1, a fraction, and
        cross_entropy: in nats, means over the paths, by batch statistics; None where not finite.
        prior_accuracy: of always answering the split's most frequent class.
        prior_cross_entropy: of answering the split's class frequencies, on the same images.
        has_learnt: whether it is better than these; None: perhaps, on too few images to tell.
    """

    when: str
    weight_steps: int
    steps_per_candidate: float
    paths: int
    images: int
    accuracy: float
    cross_entropy: float | None
    prior_accuracy: float
    prior_cross_entropy: float
    has_learnt: bool | None

    @property
    def words(self) -> str:
        """One line: the figures beside those of chance."""
        paths = number_of(self.paths, "random path")
        images = number_of(self.images, "validation image")
        loss = "not finite" if self.cross_entropy is None else f"{self.cross_entropy:.3f}"
        return (
            f"supernet {self.when}: {paths} on {images}: "
            f"accuracy {100 * self.accuracy:.1f} % (always the most frequent class "
            f"{100 * self.prior_accuracy:.1f} %), cross-entropy {loss} (class frequencies alone "
            f"{self.prior_cross_entropy:.3f})"
        )

    @property
    def advice(self) -> str:
        """What helps a supernet that has not learnt."""
        return (
            "What helps: pretrained weights where it has none (--pretrained=imagenet with "
            "--space=auto or proxyless), more weight steps for each candidate, which has had "
            f"{self.steps_per_candidate:.0f} on average (--warmup_epochs), a smaller "
            "space (fewer candidates or blocks in --space=FILE.json), more images"
        )


def evidence(accuracy: float, cross_entropy: float | None, images: int, prior: Prior) -> float:
    """How far accuracy or cross-entropy on `images` are beyond chance, in nats: networks that know
    nothing come so far with a probability of at most 2 exp(-evidence)."""
    by_accuracy = by_loss = 0.0
    if accuracy > prior.accuracy:
        ours, chance = (np.array([share, 1.0 - share]) for share in (accuracy, prior.accuracy))
        by_accuracy = images * float(np.sum(scipy.special.rel_entr(ours, chance)))  # n KL(a, q)
    if cross_entropy is not None:
        by_loss = images * (prior.cross_entropy - cross_entropy)
    return max(0.0, by_accuracy, by_loss)


@dataclass(frozen=True)
class Prior:
    """What the frequencies of the classes alone give.

    Attributes:
        accuracy: of always answering the most frequent class.
        cross_entropy: of answering the frequencies, in nats, on the images that are judged.
    """

    accuracy: float
    cross_entropy: float

    @classmethod
    def of(cls, split: np.ndarray, judged: np.ndarray) -> Prior:
        """split: int labels of all images of the split. judged: of those that paths answer."""
        frequencies = np.bincount(split) / len(split)
        return cls(float(frequencies.max()), float(-np.mean(np.log(frequencies[judged]))))


def verdict(accuracy: float, cross_entropy: float | None, images: int, prior: Prior) -> bool | None:
    """`Judgement.has_learnt` of such figures."""
    by_chance = 2.0 * math.exp(-evidence(accuracy, cross_entropy, images, prior))
    if by_chance <= FALSE_ALARM:
        return True
    return None if by_chance <= DOUBT else False


def told(judgements: Sequence[Judgement]) -> list[str]:
    """Lines for the user on the last of the judgements, at its moment: of one that has not learnt
    what it means, then the figures."""
    last = judgements[-1]
    if last.has_learnt:
        return [last.words]
    if last.has_learnt is None:
        return [f"{last.words}: better than chance, but so few images do not prove it"]
    warning = f"the supernet {last.when} is not measurably better than chance"
    if last.when == BEFORE_ALPHA:
        return [
            f"{warning}, so alpha has nothing to go by: what is derived is {DRAW_WITHIN_BUDGET}, "
            f"unless the supernet learns from here on. {last.advice}",
            last.words,
        ]
    if is_draw(judgements):
        return [f"{warning}: what is derived is {DRAW_WITHIN_BUDGET}. {last.advice}", last.words]
    if judgements[0].has_learnt:
        return [f"{warning}; when alpha started it had learnt. {_LOWER_RATE}.", last.words]
    return [f"{warning}; {_UNKNOWN_START}. {last.advice}", last.words]


def is_draw(judgements: Sequence[Judgement]) -> bool:
    """Whether alpha never had anything to go by: every judgement found that the supernet was no
    better than chance."""
    return bool(judgements) and all(judgement.has_learnt is False for judgement in judgements)


def origin_of(judgements: Sequence[Judgement], derive: str) -> str:
    """What is derived from such a supernet: SEARCHED, DRAW_WITHIN_BUDGET, or DRAW where
    --derive=most_probable knows no budget."""
    if not is_draw(judgements):
        return SEARCHED
    return DRAW if derive == "most_probable" else DRAW_WITHIN_BUDGET


def notes_on(judgements: Sequence[Judgement]) -> tuple[str, ...]:
    """What a reader of the derived architecture must be told; nothing where all is well."""
    unlearnt = [judgement for judgement in judgements if judgement.has_learnt is False]
    if not unlearnt:
        return ()
    if is_draw(judgements):
        last = judgements[-1]
        lead = "The architecture is a draw: the supernet was never measurably better than chance"
        return (f"{lead}, so alpha had nothing to go by. {sentence(last)}", last.advice)
    start, end = judgements[0], judgements[-1]
    if end.has_learnt:
        lead = (
            "The supernet learnt late: when alpha started it was not measurably better than chance"
        )
        return (f"{lead}; more warm-up helps (--warmup_epochs). {sentence(start)}",)
    if end.has_learnt is None:
        lead = "When alpha started, the supernet was not measurably better than chance"
        later = "whether it learnt later, so few images do not tell"
        return (f"{lead}; {later}. {sentence(end)}", end.advice)
    if start.has_learnt is None:
        lead = "The supernet is no better than chance at the end"
        return (f"{lead}; {_UNKNOWN_START}. {sentence(end)}", end.advice)
    lead = "The supernet had learnt when alpha started, and is no better than chance at the end"
    return (f"{lead}. {_LOWER_RATE}. {sentence(end)}",)


def sentence(judgement: Judgement) -> str:
    """Its words as a sentence."""
    return f"{judgement.words[0].upper()}{judgement.words[1:]}."


def judgements_in(document: Mapping[str, Json], *, where: str, fix: str) -> tuple[Judgement, ...]:
    """Those of a search's history or checkpoint; none in one of an earlier version. Raises
    UserError where they are damaged, naming `where`."""
    found = document.get("judgements", [])
    return value_of(tuple[Judgement, ...], found, what=f"judgements of {where}", fix=fix)
