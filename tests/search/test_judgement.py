"""Whether a supernet has learnt: against exact tails and simulated networks that know nothing, and
in searches that can and cannot learn."""

import json
import logging

import numpy as np
import pytest
import scipy.stats
from synthetic import SPACE, FarPixels

from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.search.judgement import (
    AT_THE_END,
    BEFORE_ALPHA,
    FALSE_ALARM,
    Judgement,
    Prior,
    is_draw,
    judgements_in,
    notes_on,
    told,
    verdict,
)
from pnas_tf.search.loop import Search
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.supernet_weights import judgements_of
from pnas_tf.search.targets import Target
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet


@pytest.mark.parametrize("images", [8, 50, 287, 512])
@pytest.mark.parametrize("share", [1 / 200, 1 / 17, 0.1, 0.5, 0.9])
def test_by_accuracy_it_is_never_laxer_than_the_exact_binomial_test(images, share):
    prior = Prior(share, cross_entropy=0.0)
    verdicts = [verdict(right / images, 1.0, images, prior) is True for right in range(images + 1)]
    assert verdicts == sorted(verdicts)  # from some count on
    if True in verdicts:
        least = verdicts.index(True)
        assert scipy.stats.binom.sf(least - 1, images, share) <= FALSE_ALARM / 2
        assert least / images > share


def test_figures_of_50_images_get_their_verdict():
    """17 classes of 3 images: chance is 5.9 %, ln 17 = 2.833 nats."""
    prior = Prior.of(np.repeat(np.arange(17), 3), np.repeat(np.arange(17), 3))
    assert prior.accuracy == pytest.approx(1 / 17)
    assert prior.cross_entropy == pytest.approx(np.log(17))
    assert verdict(0.06, 2.9, 51, prior) is False and verdict(0.10, 2.82, 51, prior) is False
    assert verdict(0.10, 2.5, 51, prior)  # by cross-entropy
    assert verdict(0.25, 4.0, 51, prior)  # by accuracy, however sure of its mistakes
    assert verdict(0.25, None, 51, prior) and verdict(0.06, None, 51, prior) is False


def test_a_handful_of_images_proves_nothing_and_slanders_nobody():
    """Six of six right of two classes are a coin's luck once in 64."""
    prior = Prior(0.5, np.log(2))
    assert verdict(1.0, 0.01, 6, prior) is None and verdict(0.85, 0.5, 10, prior) is None
    assert verdict(0.5, 0.7, 6, prior) is False and verdict(1.0, 0.01, 8, prior) is True
    perhaps = judgement(AT_THE_END, None)
    (line,) = told([perhaps])
    assert "do not prove it" in line
    assert not is_draw([judgement(BEFORE_ALPHA, False), perhaps])
    assert notes_on([judgement(BEFORE_ALPHA, None), perhaps]) == ()


def ignorant(generator, kind, paths, images, frequencies):
    """Probabilities [paths, images, classes] of networks that look at everything but the class."""
    classes = len(frequencies)
    shape = (paths, images)
    if kind == "frequencies":
        return np.broadcast_to(frequencies, (*shape, classes))
    if kind == "nearly":
        return np.stack([generator.dirichlet(30 * classes * frequencies, images)] * paths)
    if kind == "one path":  # all paths give the same answers
        return np.stack([generator.dirichlet(np.ones(classes), images)] * paths)
    concentration = {"unsure": 5.0, "sure": 0.05}[kind]
    return generator.dirichlet(np.full(classes, concentration), shape)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("kind", ["frequencies", "nearly", "one path", "unsure", "sure"])
@pytest.mark.parametrize("classes, odds", [(2, 1), (2, 9), (17, 1), (5, 4)])
def test_networks_that_know_nothing_seldom_pass(classes, odds, kind, stratified):
    """200 networks on 50 images each, with the frequencies of the images' own split or of all
    images. At a false-alarm rate of 1 %, 12 or more of 200 come once in 150,000 runs; over the 40
    cases once in 3,800."""
    weights = np.linspace(1, odds, classes)
    generator = np.random.default_rng([classes, odds, stratified])
    passed = 0
    for _ in range(200):
        labels = generator.choice(classes, 50, p=weights / weights.sum())
        if stratified:
            counts = np.maximum(1, np.round(50 * weights / weights.sum())).astype(int)
            labels = generator.permutation(np.repeat(np.arange(classes), counts))
        labels = np.concatenate([labels, np.arange(classes)])  # each class is there
        frequencies = np.bincount(labels) / len(labels)
        shares = ignorant(generator, kind, 4, len(labels), frequencies) + 1e-12
        right = np.mean(shares.argmax(-1) == labels)
        loss = -np.mean(np.log(shares[:, np.arange(len(labels)), labels]))
        passed += verdict(right, loss, len(labels), Prior.of(labels, labels)) is True
    assert passed < 12


def judgement(when, learnt):
    return Judgement(when, 120, 17.1, 4, 48, 0.06, 2.9, 0.059, 2.833, learnt)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("end", [True, False])
def test_only_a_supernet_that_never_learnt_makes_a_draw(start, end):
    both = (judgement(BEFORE_ALPHA, start), judgement(AT_THE_END, end))
    assert is_draw(both) == (not start and not end)
    notes = " ".join(notes_on(both))
    assert ("is a draw" in notes) == is_draw(both)
    assert ("learnt late" in notes) == (end and not start)
    assert ("no better than chance at the end" in notes) == (start and not end)
    assert bool(notes) == (not (start and end))


def test_what_too_few_images_leave_open_is_not_said_to_be_learnt():
    unlearnt, open_start = judgement(AT_THE_END, False), judgement(BEFORE_ALPHA, None)
    warning, _ = told([open_start, unlearnt])
    note, advice = notes_on([open_start, unlearnt])
    for text in (warning, note):
        assert "whether it had learnt when alpha started, so few images do not tell" in text
    assert advice == unlearnt.advice and unlearnt.advice in warning
    late, advice = notes_on([judgement(BEFORE_ALPHA, False), judgement(AT_THE_END, None)])
    assert "whether it learnt later, so few images do not tell" in late
    assert "learnt late:" not in late and advice == unlearnt.advice


def test_it_is_told_with_what_helps_and_nothing_is_known_of_an_earlier_version():
    start, end = (judgement(when, False) for when in (BEFORE_ALPHA, AT_THE_END))
    warning, figures = told([start])
    assert "not measurably better than chance" in warning
    assert "6.0 %" in figures and "2.833" in figures
    assert "--warmup_epochs" in warning and "17 on average" in warning
    assert "--pretrained" in warning and "within the budget, unless" in warning
    assert "within the budget." in told([start, end])[0]
    assert "--search_learning_rate" in told([judgement(BEFORE_ALPHA, True), end])[0]
    learnt = judgement(AT_THE_END, True)
    assert told([start, learnt]) == [learnt.words]
    assert judgements_in({}, where="history", fix="") == () and not is_draw(())


class Brightness(FarPixels):
    """The class is how bright the image is, or, where `learnable` is not, nothing of the image."""

    def __init__(self, *, learnable):
        super().__init__(64, 0)
        for number, (part, (images, labels)) in enumerate(self.parts.items()):
            brightness = 2 * labels[:, None, None, None] if learnable else 0
            if not learnable:
                labels = np.random.default_rng(number).permutation(labels)
            self.parts[part] = ((images + brightness).astype(np.float32), labels)
        self.validation_split.labels = self.parts["validation"][1]


def searched(folder, data):
    config = SearchConfig(
        warmup_epochs=6, search_epochs=2, search_batch_size=16, arch_start_epoch=1
    )
    search = Search(
        Supernet(SPACE, SearchConfig(weights_init="he_fout"), numerics=Numerics(), seed=0),
        data,
        SearchTargets((Target(macs_quantity(SPACE), 1e6),), config),
        SearchRecipe(config, OptimizerConfig(), seed=0),
        folder=folder,
    )
    search.run()
    return search


@pytest.mark.slow
@pytest.mark.parametrize("learnable", [True, False])
def test_a_search_says_whether_it_has_learnt(learnable, tmp_path, caplog):
    """Where labels have nothing to do with images, each of the two judgements is wrong once in a
    hundred."""
    caplog.set_level(logging.INFO, "pnas_tf")
    search = searched(tmp_path, Brightness(learnable=learnable))
    found = judgements_of(tmp_path / "history.json")
    assert found == search.judgements
    assert [each.when for each in found] == [BEFORE_ALPHA, AT_THE_END]
    assert [each.weight_steps for each in found] == [4 * 7 + 2, 4 * 8]
    assert found[0].steps_per_candidate == (4 * 7 + 2) / len(SPACE.choice_blocks[0].candidates)
    assert [each.has_learnt for each in found] == [learnable] * 2
    lines = [record.getMessage() for record in caplog.records]
    alpha_starts = next(number for number, line in enumerate(lines) if BEFORE_ALPHA in line)
    joint = [number for number, line in enumerate(lines) if line.startswith("joint ")]
    assert joint[0] < alpha_starts < joint[1]  # at once
    assert (caplog.records[alpha_starts].levelname == "WARNING") != learnable
    document = json.loads((tmp_path / "history.json").read_text())
    assert [each["has_learnt"] for each in document["judgements"]] == [learnable] * 2
