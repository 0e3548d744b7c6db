"""The run folder as seen by the workers that do not write it: the chief holds it, they read and
keep its pace.

All processes of a cluster see the same folder, on a disk that they share. Knows nothing of what the
steps do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder, digest_of

WAIT_S, POLL_S = 600.0, 0.2
STEP_S = 6 * 3600.0  # that the chief may take for a step of its own


class RunFollower(RunFolder):
    """Takes no lock and writes nothing; its steps begin when the chief's have begun. Raises
    UserError after `wait_s` without that."""

    follows = True

    def __init__(self, path: Any, *, wait_s: float = WAIT_S):
        super().__init__(path)
        self._wait_s = wait_s

    def __enter__(self) -> RunFollower:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        work: Callable[[], Any],
        partial: Sequence[str] = (),
    ) -> bool:
        """Runs `work` beside the chief's, unless the step is complete. The chief has cleared away
        what is stale by then."""
        del partial
        digest = digest_of(inputs)
        self._wait(
            lambda: self.steps().get(name, {}).get("inputs") == digest,
            f"step {name} of the chief with the same settings",
            self._wait_s,
        )
        if self.is_complete(name, digest, outputs):
            print(f"{name}: complete, skipped")
            return False
        work()
        return True

    def wait_for(self, name: str, output: str) -> None:
        """Returns when the chief has finished step `name` and left `output`."""
        self._wait(
            lambda: "outputs" in self.steps().get(name, {}) and (self.path / output).exists(),
            f"{output} of the chief's step {name}",
            STEP_S,
        )

    def _wait(self, arrived: Callable[[], bool], what: str, wait_s: float) -> None:
        end = time.monotonic() + wait_s
        while not arrived():
            if time.monotonic() > end:
                raise UserError(
                    f"no {what} in {self.path}",
                    expected=f"the chief at work in the same folder within {wait_s:.0f} s",
                    received="nothing of it",
                    fix="See that the chief runs; give all workers the same flags and a run "
                    "folder on a disk that they share.",
                )
            time.sleep(POLL_S)
