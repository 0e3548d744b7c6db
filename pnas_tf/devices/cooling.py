"""Waiting for a throttled device: once for each state, and never for one that waiting cannot end.

A phone that says "light" for ever, or a board on a weak supply, is told of once and then measured
as it is; its runs are marked (`ModelRun.throttling`). Knows nothing of how the state is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from pnas_tf.devices.thermal import ThermalState


class Cooling:
    """The thermal state of one device, and what has been waited for already.

    Args:
        read: the state now.
        most_s: longest wait.
        poll_s: between two looks.
        say: takes a line before each wait, and one for what does not pass.

    Attributes:
        state: the last one that was read; whoever reads one puts it here.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        read: Callable[[], ThermalState],
        *,
        most_s: float,
        poll_s: float,
        say: Callable[[str], None],
    ):
        self.state = ThermalState()
        self.sleep: Callable[[float], None] = time.sleep
        self._read, self._say = read, say
        self._most_s, self._poll_s = most_s, poll_s
        # complaints that a wait did not end, until none is left that may pass
        self._stayed: set[str] = set()
        self._told: set[str] = set()

    @property
    def may_pass(self) -> bool:
        """Whether the device throttles by something that a wait may end."""
        return bool(set(self.state.passing) - self._stayed)

    def wait(self) -> None:
        """Returns when the device does not throttle, or when waiting does not help."""
        if not self.state.passing:
            self._stayed.clear()
        if not self.may_pass:
            if self.state.is_throttled:
                self._tell_once(self.state.complaint)
            return
        self._say(f"{self.state.complaint}: waiting up to {self._most_s:.0f} s for it to pass")
        seen = set(self.state.passing)
        deadline = time.monotonic() + self._most_s  # reading takes time too
        for _ in range(math.ceil(self._most_s / self._poll_s)):
            if not self.state.passing or time.monotonic() >= deadline:
                break
            self.sleep(self._poll_s)
            self.state = self._read()
            seen |= set(self.state.passing)
        if self.state.passing:
            self._stayed |= seen
            self._tell_once(self.state.complaint)

    def _tell_once(self, complaint: str) -> None:
        if complaint not in self._told:
            self._told.add(complaint)
            self._say(
                f"{complaint}: this does not pass by waiting. It is measured so, and its runs are "
                "marked"
            )
