"""How a run of benchmark_model is started on a far device: behind the device's own `taskset` and
`timeout`, with the libraries that it needs, and with what is read after it.

Text in, a shell script out. Knows nothing of what the tool prints.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pnas_tf.devices.connection import Connection
from pnas_tf.devices.cores import taskset_mask
from pnas_tf.devices.thermal import SCRIPT as THERMAL_SCRIPT

AFTER_LINE = "pnas_tf-after"
# The second is BusyBox's before 1.30, which takes 400 in `timeout 400 ...` for a program.
_TIMEOUT_FORMS = ("timeout", "timeout -t")
_TRY_TIMEOUT = (
    "command -v timeout >/dev/null 2>&1 || exit 0\necho there\n"
    + "\n".join(
        f"{form} 20 true >/dev/null 2>&1 && {{ echo {form}; exit 0; }}" for form in _TIMEOUT_FORMS
    )
    + "\ntrue"
)
# Where Qualcomm's runtime looks for what it loads into its DSP, beside the linker's own variable.
_LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")


def usable_timeout(connection: Connection, say: Callable[[str], None]) -> tuple[str, ...]:
    """The words before the seconds of the device's own `timeout`; () where it cannot be used."""
    told = connection.run(_TRY_TIMEOUT).output.split("\n")
    for form in _TIMEOUT_FORMS:
        if form in told:
            return tuple(form.split())
    if "there" in told:
        say("its timeout command cannot be used: runs without end are ended from here")
    return ()


@dataclass(frozen=True)
class Launcher:
    """What stands before the tool.

    Attributes:
        timeout: as `usable_timeout` gives it.
        run_s: how long one run may take there.
        cores: that it is held to; () for none.
        libraries: a folder there with libraries that it loads; "" for none.
    """

    timeout: tuple[str, ...]
    run_s: float
    cores: tuple[int, ...]
    libraries: str = ""

    def script(self, words: Sequence[str]) -> str:
        """A shell script that runs `words`, then tells the thermal state behind `AFTER_LINE`, and
        ends with the exit code of `words`."""
        # Ours may be cut off with the line, this one ends the run there.
        limited = [*self.timeout, str(int(self.run_s)), *words] if self.timeout else [*words]
        if self.cores:
            limited = ["taskset", taskset_mask(self.cores), *limited]
        there = shlex.quote(self.libraries)
        variables = "".join(f"{name}={there} " for name in _LIBRARY_VARIABLES if self.libraries)
        after = f"ended=$?\necho\necho {AFTER_LINE}\n{THERMAL_SCRIPT}\nexit $ended"
        return f"{variables}{shlex.join(limited)}\n{after}"
