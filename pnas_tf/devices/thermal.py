"""How hot and how fast a far device is: thermal status, temperatures, clocks. Read before and after
every run.

Android answers through `dumpsys thermalservice`, a Raspberry Pi through `vcgencmd`, any Linux
through /sys. What cannot be read is None, never a guess. Source: the public layout of
ThermalManagerService's dump and the kernel's sysfs documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# android.os.PowerManager
STATUS_NAMES = ["none", "light", "moderate", "severe", "critical", "emergency", "shutdown"]
_BEGIN = "pnas_tf-thermal"
# The clocks first, and without a process for each, since they fall as soon as the model has ended.
SCRIPT = f"""
echo {_BEGIN} clocks
for core in /sys/devices/system/cpu/cpu[0-9]*; do
  {{ read -r khz < "$core/cpufreq/scaling_cur_freq"; }} 2>/dev/null && echo "${{core##*/cpu}} $khz"
done
echo {_BEGIN} thermalservice
command -v dumpsys >/dev/null 2>&1 && dumpsys thermalservice 2>/dev/null
echo {_BEGIN} vcgencmd
command -v vcgencmd >/dev/null 2>&1 && vcgencmd get_throttled 2>/dev/null
echo {_BEGIN} zones
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] || continue
  echo "$(cat "$zone/type" 2>/dev/null | tr ' ' '_') $(cat "$zone/temp" 2>/dev/null)"
done
true
"""
_TEMPERATURE = re.compile(
    r"Temperature\{mValue=(-?\d{1,6}(?:\.\d{0,9})?), mType=(-?\d{1,6}), mName=([^,]*), "
    r"mStatus=(\d{1,6})\}"
)
_STATUS = re.compile(r"^Thermal Status: (\d{1,6})\b", re.MULTILINE)
_THROTTLED = re.compile(r"throttled=0x([0-9a-fA-F]{1,16})\b")
_WEAK_SUPPLY = "under-voltage"
_PI_NOW = {
    0x1: _WEAK_SUPPLY,
    0x2: "clock capped",
    0x4: "throttled",
    0x8: "soft temperature limit",
}
_OF_WEAK_SUPPLY = {_WEAK_SUPPLY, "clock capped", "throttled"}
_SKIN, _CPU = 3, 0  # android.os.Temperature: TYPE_CPU 0, TYPE_GPU 1, TYPE_BATTERY 2, TYPE_SKIN 3
_ABSENT_C = -30.0  # sensors that are not there report values such as -99.9


@dataclass(frozen=True)
class ThermalState:
    """One reading. complaints: the device's own words when it throttles."""

    complaints: tuple[str, ...] = ()
    temperature_c: float | None = None
    clocks_mhz: tuple[tuple[int, float], ...] = ()

    @property
    def complaint(self) -> str:
        """All complaints in one text, "" for none."""
        return ", ".join(self.complaints)

    @property
    def is_throttled(self) -> bool:
        return bool(self.complaints)

    @property
    def passing(self) -> tuple[str, ...]:
        """The complaints that may pass when the device cools down: not a weak power supply, nor the
        clock that it costs."""
        if _WEAK_SUPPLY not in self.complaints:
            return self.complaints
        return tuple(words for words in self.complaints if words not in _OF_WEAK_SUPPLY)

    def clock_mhz(self, cores: tuple[int, ...]) -> float | None:
        """The lowest clock among `cores`, to which the model was held; None where it was held to
        none, since that of an idle core says nothing, or where it cannot be read."""
        return min((clock for core, clock in self.clocks_mhz if core in cores), default=None)


def parse_thermal(text: str) -> ThermalState:
    """Reads what `SCRIPT` printed."""
    parts = {}
    for part in text.split(_BEGIN + " ")[1:]:
        name, _, body = part.partition("\n")
        parts[name.strip()] = body
    complaints, temperature = _read_thermalservice(parts.get("thermalservice", ""))
    complaints = complaints or _read_vcgencmd(parts.get("vcgencmd", ""))
    if temperature is None:
        temperature = _read_zones(parts.get("zones", ""))
    clocks = tuple(
        (int(core), int(khz) / 1000.0)
        for core, khz in re.findall(
            r"^(\d{1,4}) (\d{1,12})$", parts.get("clocks", ""), re.MULTILINE
        )
    )
    return ThermalState(complaints, temperature, clocks)


def _read_thermalservice(text: str) -> tuple[tuple[str, ...], float | None]:
    match = _STATUS.search(text)
    status = int(match.group(1)) if match else 0
    current = (
        text.partition("Current temperatures from HAL:")[2].partition("cooling devices")[0] or text
    )  # cached ones may be stale
    sensors = [
        (name, int(kind), float(value))
        for value, kind, name, _ in _TEMPERATURE.findall(current)
        if float(value) > _ABSENT_C
    ]
    # the hottest of processor and skin, by name, since vendors number the types differently; else
    # by number; else of all
    chosen = (
        [value for name, _, value in sensors if re.search("cpu|skin|soc|^ap$", name, re.IGNORECASE)]
        or [value for _, kind, value in sensors if kind in (_CPU, _SKIN)]
        or [value for _, _, value in sensors]
    )
    words = (f"thermal status {status} ({STATUS_NAMES[min(status, 6)]})",) if status else ()
    return words, max(chosen, default=None)


def _read_vcgencmd(text: str) -> tuple[str, ...]:
    match = _THROTTLED.search(text)
    bits = int(match.group(1), 16) if match else 0
    return tuple(words for bit, words in _PI_NOW.items() if bits & bit)


def _read_zones(text: str) -> float | None:
    readings = [
        (kind.lower(), int(value))
        for kind, value in re.findall(r"^(\S{1,100}) (-?\d{1,12})$", text, re.MULTILINE)
    ]
    # The unit is a thousandth of a degree; some kernels give degrees, in all of their zones.
    unit = 1000.0 if any(value >= 1000 for _, value in readings) else 1.0
    celsius = [(kind, value / unit) for kind, value in readings]
    plausible = [(kind, value) for kind, value in celsius if 1.0 <= value < 150.0]
    processors = [
        value for kind, value in plausible if "cpu" in kind or "soc" in kind or "pkg" in kind
    ]
    return max(processors or [value for _, value in plausible], default=None)
