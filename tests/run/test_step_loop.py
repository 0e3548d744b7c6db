"""The loop that search and training share, on work whose result is known in closed form: a state
that any lost, doubled or reordered step changes."""

import json
import os
import signal

import numpy as np
import pytest
from events import events_in

from pnas_tf.errors import UserError
from pnas_tf.io import locks
from pnas_tf.run import checkpoints
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.figures import NotFinite, RunningMeans
from pnas_tf.run.loop import StepLoop
from pnas_tf.run.signals import Stopped

EPOCHS, STEPS = 3, 5


class Alone:
    """One process."""

    first = 0
    lingered = False

    def total_of(self, numbers):
        return np.asarray(numbers, np.float64)

    def drain(self):
        self.lingered = True


class Chain:
    """x <- 3 x + step + batch modulo a prime. before: called before each step."""

    name, header, causes = "chain", {"format": "chain", "version": 1}, "the test"
    epochs, steps_per_epoch = EPOCHS, STEPS

    def __init__(self, before=lambda step: None):
        self.x, self.before, self.means = np.array(1.0), before, RunningMeans.of(1)

    def phase(self, epoch):
        return "early" if epoch == 0 else "late"

    def batches(self, epoch, start):
        return [(100 * epoch + number, None) for number in range(start, STEPS)]

    def take_step(self, step, images, labels):
        self.before(step)
        self.x = (3 * self.x + step + images) % 10007
        self.means.add(float(self.x))

    def figures(self):
        return {"x": float(self.x)}

    def end_epoch(self, epoch):
        row = {"epoch": epoch, "mean": self.means.means[0], "phase": self.phase(epoch)}
        self.means = RunningMeans.of(1)
        return row

    def state(self):
        return {"x": self.x}, {"sums": self.means.sums}

    def restore(self, checkpoint, where):
        self.x = checkpoint.array("x", shape=(), where=where)
        self.means = RunningMeans(checkpoint.value("sums", tuple[float, ...], where=where))


def loop_of(folder, before=lambda step: None, **options):
    return StepLoop(
        Chain(before), folder, **{"peers": Alone(), "keep": 2, "checkpoint_steps": None, **options}
    )


def asks_at(step):
    """A SIGTERM while that step runs."""
    return lambda number: os.kill(os.getpid(), signal.SIGTERM) if number == step else None


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def history(folder):
    return (folder / "history.json").read_bytes()


@pytest.fixture
def straight(tmp_path):
    loop = loop_of(tmp_path / "straight", checkpoint_steps=2)
    loop.run()
    return tmp_path / "straight", float(loop.work.x)


def test_it_runs_all_steps_and_leaves_history_events_and_epoch_ends(straight):
    folder, x = straight
    expected = 1.0
    for step in range(EPOCHS * STEPS):
        expected = (3 * expected + step + 100 * (step // STEPS) + step % STEPS) % 10007
    assert x == expected
    document = json.loads(history(folder))
    assert document["format"] == "chain"
    assert [row["epoch"] for row in document["epochs"]] == [0, 1, 2]
    assert list((folder / "events").iterdir())
    assert names(folder) == ["step-0000000010.npz", "step-0000000015.npz"]


class Choosing(Chain):
    """A search's rows: alpha of two blocks moves by a tenth an epoch."""

    def end_epoch(self, epoch):
        alphas = [np.array([0.1 * epoch, 0.0]), np.array([0.0, 1.0, 2.0])]
        probabilities = [(np.exp(alpha) / np.exp(alpha).sum()).tolist() for alpha in alphas]
        return {**super().end_epoch(epoch), "probabilities": probabilities}


def test_events_hold_the_curves_and_alpha(tmp_path):
    """Read back from the file: every scalar of the history, and a histogram a block and epoch whose
    ends are log-probabilities, that is alpha but for a constant."""
    loop = StepLoop(
        Choosing(lambda step: None), tmp_path, peers=Alone(), keep=1, checkpoint_steps=None
    )
    loop.run()
    found = events_in(tmp_path / "events")
    rows = json.loads(history(tmp_path))["epochs"]
    assert found["chain/mean"] == pytest.approx([row["mean"] for row in rows])
    assert {tag for tag in found if "alpha" in tag} == {
        "chain/alpha/block_00",
        "chain/alpha/block_01",
    }
    for block in (0, 1):
        for row, buckets in zip(rows, found[f"chain/alpha/block_{block:02d}"], strict=True):
            expected = np.log(row["probabilities"][block])
            counted = buckets[buckets[:, 2] > 0]
            assert counted[:, 2].sum() == len(expected)
            ends = (counted[0, 0], counted[-1, 1])
            assert ends == pytest.approx((expected.min(), expected.max()), rel=1e-6)


def test_without_tensorboard_there_are_no_events_and_the_history_is_the_same(straight, tmp_path):
    loop_of(tmp_path / "other", checkpoint_steps=2, tensorboard=False).run()
    assert not (tmp_path / "other/events").exists()
    assert history(tmp_path / "other") == history(straight[0])


@pytest.mark.parametrize("step", range(EPOCHS * STEPS))
def test_stopped_after_any_step_it_ends_as_if_it_had_run_through(straight, tmp_path, step):
    """Also after the last one: who asked for a stop is not overheard."""
    with pytest.raises(Stopped, match=f"step {step + 1}"):
        loop_of(tmp_path, asks_at(step), checkpoint_steps=2).run()
    assert Checkpoints(tmp_path / "checkpoints").latest().step == step + 1
    loop = loop_of(tmp_path, checkpoint_steps=2)
    loop.run()
    assert (float(loop.work.x), history(tmp_path)) == (straight[1], history(straight[0]))
    assert names(tmp_path) == names(straight[0])


@pytest.mark.parametrize("step", range(0, EPOCHS * STEPS, 2))
def test_killed_in_any_step_it_ends_as_if_it_had_run_through(straight, tmp_path, step):
    class Killed(BaseException):
        pass

    def kill(number):
        if number == step:
            raise Killed

    with pytest.raises(Killed):
        loop_of(tmp_path, kill, checkpoint_steps=2).run()
    loop = loop_of(tmp_path, checkpoint_steps=2)
    loop.run()
    assert (float(loop.work.x), history(tmp_path)) == (straight[1], history(straight[0]))
    assert names(tmp_path) == names(straight[0])


def test_finished_work_is_only_loaded(straight):
    folder, x = straight
    events = sorted((folder / "events").iterdir())
    loop = loop_of(folder, lambda step: pytest.fail("it runs again"))
    loop.run()
    assert float(loop.work.x) == x and sorted((folder / "events").iterdir()) == events


def test_a_checkpoint_is_due_by_time_too(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "DUE_S", -1.0)
    seen = []
    loop_of(
        tmp_path,
        lambda step: seen.append(step and Checkpoints(tmp_path / "checkpoints").latest().step),
    ).run()
    assert seen == list(range(EPOCHS * STEPS))


def test_a_step_that_is_not_finite_ends_the_work(tmp_path):
    def spoil(step):
        if step == 7:
            raise NotFinite("chain step", float("nan"))

    with pytest.raises(UserError, match="chain step 7 is not a finite number") as error:
        loop_of(tmp_path, spoil).run()
    assert "Last good checkpoint: step 5" in error.value.fix and "the test" in error.value.fix


def test_arrays_that_are_not_finite_reach_no_checkpoint(tmp_path):
    loop = loop_of(tmp_path)

    def spoil(step):
        if step == 8:
            loop.work.x = np.array(np.inf)

    loop.work.before = spoil
    loop.work.take_step = lambda step, images, labels: spoil(step)
    with pytest.raises(UserError, match="'x' after the steps before"):
        loop.run()
    assert Checkpoints(tmp_path / "checkpoints").latest().step == 5


class Two(Alone):
    """This process and another one, at step `other`, which asks for a stop after `asks` steps."""

    def __init__(self, *, other=0, first=0, asks=99):
        self.other, self.first, self.asks, self.calls = other, first, asks, 0

    def total_of(self, numbers):
        self.calls += 1
        if self.calls == 1:
            return np.array([numbers[0] + self.other, 2.0])
        return np.array([numbers[0] + (self.calls > self.asks), numbers[1]])


def test_the_wish_of_another_process_stops_this_one_too(tmp_path):
    peers = Two(asks=7)
    with pytest.raises(Stopped, match="step 7"):
        loop_of(tmp_path, peers=peers).run()
    assert peers.lingered and Checkpoints(tmp_path / "checkpoints").latest().step == 7


def test_a_process_that_does_not_write_leaves_the_folder_alone(tmp_path):
    loop_of(tmp_path, peers=Two(first=1)).run()
    assert not list(tmp_path.iterdir())


def test_processes_at_different_steps_are_refused(tmp_path):
    with pytest.raises(UserError, match="one step"):
        loop_of(tmp_path, peers=Two(other=5)).run()


def test_one_process_at_a_time_works_in_a_folder(straight, tmp_path):
    finished, _ = straight
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    with locks.try_lock(place, create=False):
        with pytest.raises(UserError, match="is in use"):
            loop_of(tmp_path / "link").run()
        assert not list(place.iterdir())
        loop_of(place, peers=Two(first=1)).run()  # which only reads
    loop_of(tmp_path / "link").run()
    assert history(place) == history(finished)
