"""What a latency table is true of. Figures of another identity never enter it."""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import check_same
from pnas_tf.errors import UserError


@dataclass(frozen=True)
class Identity:
    """Device, settings, number format, and the export rewrites that the blocks were measured with:
    those that paid on the device where they were chosen by trial."""

    device: Device
    settings: Settings
    dtype: str
    rewrites: tuple[str, ...]

    def check(self, entry: Measurement, *, what: str) -> None:
        """Raises UserError, naming field and values, when a measurement is of another identity."""
        found = Identity(entry.device, entry.settings, entry.model.dtype, entry.model.rewrites)
        what, fix = f"{what} is not of the table's", "Build the table again."
        check_same(self.device, found.device, what=f"{what} device", fix=fix)
        check_same(self.settings, found.settings, what=f"{what} settings", fix=fix)
        check_same(self, found, what=what, fix=fix)

    def differences(self, device: Device, settings: Settings) -> list[str]:
        """Warnings where a session that is compared with the table measures something else."""
        found = []
        for name, mine, other in (
            ("device", self.device, device),
            ("settings", self.settings, settings),
        ):
            try:
                check_same(mine, other, what=name)
            except UserError as error:
                found.append(
                    f"stale: built for {error.what} {error.expected}, now {error.received}"
                )
        return found

    def describe(self) -> str:
        """For beside a figure."""
        device, settings = self.device, self.settings
        cores = f" cores {','.join(map(str, device.cores))}" if device.cores else ""
        threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
        partial = " (in part, where it takes no more)" if settings.partial_delegation else ""
        return (
            f"{device.kind} {device.model}, {device.processor}{cores}, {settings.runtime} "
            f"{settings.runtime_version} {settings.delegate}{partial}, {threads}, {self.dtype}"
        )
