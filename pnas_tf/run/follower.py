"""The run folder as seen by the workers that do not write it: the chief holds it, they read and
keep its pace.

All processes of a cluster see the same folder, on a disk that they share. Knows nothing of what the
steps do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pnas_tf.errors import UserError
from pnas_tf.run.records import OpenedFolder, read_steps
from pnas_tf.run.step import digest_of
from pnas_tf.run.terminal import TERMINAL

WAIT_S, POLL_S = 600.0, 0.2
STEP_S = 6 * 3600.0  # that the chief may take for a step of its own


class RunFollower(OpenedFolder):
    """Takes no lock and writes nothing; its steps begin when the chief's have begun. Raises
    UserError after `wait_s` without that."""

    def __init__(self, path: str | os.PathLike, *, wait_s: float = WAIT_S):
        super().__init__(path)
        self._wait_s = wait_s

    def __enter__(self) -> RunFollower:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settle(self, configs: Iterable[object]) -> None:
        """Raises UserError when something in the folder was made with other settings."""
        self._settled(configs)

    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, object],
        outputs: Sequence[str],
        work: Callable[[], object],
        partial: Sequence[str] = (),
        always: bool = False,
    ) -> bool:
        """Does `work` beside the chief's, unless the step is complete, and returns when the chief
        has finished it. What is stale the chief has cleared away by then."""
        del partial
        digest = digest_of(inputs)

        def begun() -> bool:
            record = read_steps(self.path).get(name)
            return record is not None and record.inputs == digest

        self._wait(begun, f"step {name} of the chief with the same settings", self._wait_s)
        if not always and read_steps(self.path)[name].is_complete(digest, outputs, self.path):
            TERMINAL.skip(name)
            return False
        TERMINAL.begin(continues=False)
        work()
        self.wait_for(name, lambda: inputs, outputs)  # what comes of it the chief writes
        return True

    def wait_for(
        self, name: str, inputs: Callable[[], Mapping[str, object]], outputs: Sequence[str]
    ) -> None:
        """Returns when the chief has finished step `name` with what `inputs` gives by then, and
        left `outputs`: an earlier result of it may be there."""

        def finished() -> bool:
            record = read_steps(self.path).get(name)
            return record is not None and record.is_complete(
                digest_of(inputs()), outputs, self.path
            )

        self._wait(finished, f"{', '.join(outputs)} of the chief's step {name}", STEP_S)

    def _wait(self, arrived: Callable[[], bool], what: str, wait_s: float) -> None:
        end = time.monotonic() + wait_s
        while not arrived():
            if time.monotonic() > end:
                raise UserError(
                    f"no {what} in {self.path}",
                    expected=f"the chief at work in the same folder within {wait_s:.0f} s",
                    received="nothing of it",
                    fix="See that the chief runs; give all workers the same flags, files and "
                    "versions, and a run folder on a disk that they share.",
                )
            time.sleep(POLL_S)
