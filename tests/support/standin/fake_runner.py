"""A device made of arithmetic: what a model takes is known, so what the schedule makes of it can be
checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pnas_tf.devices.record import Device, ModelRun, Settings

DEVICE = Device("host", "machine", "processor", (1,), "system", "build")
SETTINGS = Settings("runtime", "1.0", "xnnpack", 1)


class FakeRunner:
    """latency_ms: of a model, from its path and the number of runs so far. log: (model, warmups,
    invocations) of every run."""

    def __init__(
        self,
        latency_ms: Callable[[Path, int], float],
        *,
        device: Device = DEVICE,
        settings: Settings = SETTINGS,
    ):
        self.latency_ms, self.device, self.settings = latency_ms, device, settings
        self.log: list[tuple[str, int, int]] = []

    def begin_round(self) -> None:
        return

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        self.log.append((model.name, warmups, invocations))
        time_ns = self.latency_ms(model, len(self.log)) * 1e6
        return ModelRun(
            (time_ns,) * invocations, (2 * time_ns,) * warmups, started_unix_s=time.time()
        )

    def close(self) -> None:
        return
