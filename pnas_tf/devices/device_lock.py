"""One process at a time has a far device: two at once slow each other, and the first to end takes
its mode from the other. Seen by processes of this user on this computer alone.
"""

from __future__ import annotations

import hashlib

from pnas_tf.devices.failures import DeviceBusy
from pnas_tf.io import atomic, locks


def hold_device(name: str) -> locks.Lock:
    """The device, until the lock is released. Raises DeviceBusy where another process has it.

    Args:
        name: as `Connection.name`.
    """
    folder = atomic.user_cache_folder("devices")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    lock = locks.try_lock(path)
    if lock is None:
        raise DeviceBusy(
            f"{name} is being measured", received=f"held by pid {locks.holder_of(path)}"
        )
    lock.name_holder()
    return lock
