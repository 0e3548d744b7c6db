"""Work on the devices of --device, one result file each: what the measuring programs share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pnas_tf.config import DeviceConfig
from pnas_tf.errors import UserError


def outputs_of(devices: str, name: str) -> dict[str, str]:
    """Device -> file: `name` itself for a single device, NAME_DEVICE.json for each of several."""
    from pnas_tf.devices.registry import split_devices

    names = split_devices(devices)
    stem = name.removesuffix(".json")
    return {
        device: name if len(names) == 1 else f"{stem}_{re.sub('[^A-Za-z0-9.-]+', '_', device)}.json"
        for device in names
    }


def on_devices(device: DeviceConfig, work: Callable[[str, Any], None]) -> None:
    """`work(device, runner)` on all devices at the same time. Raises the error of the one that
    failed, or names the several."""
    from pnas_tf.devices.registry import on_each_device

    results = on_each_device(device, work)
    errors = {name: outcome.error for name, outcome in results.items() if outcome.error is not None}
    if len(errors) == 1:
        raise next(iter(errors.values()))
    for name, error in errors.items():
        print(f"{name}: {error}")
    if errors:
        raise UserError(
            "several devices failed",
            expected="a result of each",
            received=", ".join(errors),
            fix="See the reasons above; the same command keeps what was measured and goes on.",
        )
