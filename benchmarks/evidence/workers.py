"""Does the jobs of a study that are not done yet: timed ones alone in this process, the others in
processes side by side.

A job is taken by a lock on its folder, so that a killed command leaves nothing taken. Knows no
job's content.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.evidence.plan import Job, Study, jobs
from benchmarks.evidence.work import Workshop
from pnas_tf.io import locks


def unfinished(shop: Workshop, *, timed: bool, pattern: str, partial: bool = False) -> list[Job]:
    """Jobs that are not done though what they need is, in the plan's order.

    partial: wide jobs are content with the first of what they need; they are done again when there
    is more.
    """
    return [
        job
        for job in jobs(shop.study)
        if job.timed == timed
        and fnmatch.fnmatch(job.name, pattern)
        and not shop.finished(job.name)
        and all(
            shop.finished(name) for name in (job.needs[:2] if partial and job.wide else job.needs)
        )
    ]


def do_timed(shop: Workshop, *, pattern: str, partial: bool = False) -> int:
    """Does every timed job that is ready; returns how many."""
    _one_thread()
    return _work(
        shop, lambda: unfinished(shop, timed=True, pattern=pattern, partial=partial), once=partial
    )


def do_untimed(
    study: Study, output: Path, *, pattern: str, workers: int, partial: bool = False
) -> None:
    """Starts `workers` processes that do every untimed job there is, and waits for them."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.evidence",
        f"--study={study.name}",
        f"--output={output}",
        f"--jobs={pattern}",
        "--as_worker",
        *(["--partial"] if partial else []),
    ]
    # TF is told before it starts; one core each gives more trainings an hour than two cores for
    # one.
    children = [
        subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TERM": "dumb"})
        for _ in range(workers)
    ]
    statuses = [child.wait() for child in children]
    if any(statuses):
        raise SystemExit(f"a worker ended with status {max(statuses)}: see above")


def work_until_done(shop: Workshop, *, pattern: str, partial: bool = False) -> int:
    """What a worker process does: one untimed job after another until none is ready."""
    _one_thread()
    return _work(
        shop, lambda: unfinished(shop, timed=False, pattern=pattern, partial=partial), once=partial
    )


def _work(shop: Workshop, ready: Callable[[], Sequence[Job]], *, once: bool = False) -> int:
    """once: no job twice, though it may still count as unfinished."""
    done, progressed = 0, True
    tried: set[str] = set()
    while progressed:
        progressed = False
        for job in ready():
            if once and job.name in tried:
                continue
            tried.add(job.name)
            with _taken(shop.place(job.name)) as mine:
                if not mine or shop.finished(job.name):
                    continue
                print(f"{shop.study.name}: {job.name}", flush=True)
                _fresh()
                shop.do(job)
                done, progressed = done + 1, True
                break  # the plan's order again, from the top
    return done


def _one_thread() -> None:
    """TensorFlow on one core; must come before it has computed anything, and may be said again."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _fresh() -> None:
    if "tensorflow" in sys.modules:
        import tf_keras as keras

        keras.backend.clear_session()


@contextmanager
def _taken(folder: Path) -> Iterator[bool]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = locks.try_lock(folder / ".lock")
    if lock is None:
        yield False
        return
    with lock:
        yield True
