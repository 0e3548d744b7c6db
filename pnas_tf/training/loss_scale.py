"""The factor that keeps float16 gradients above the smallest float16 (Micikevicius et al. 2018,
section 3.2). Knows no tensors."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 2.0**24


@dataclass
class LossScale:
    """Halved by a step whose gradients overflowed, doubled after `patience` steps in a row that did
    not; a power of two."""

    value: float = 2.0**15
    good_steps: int = 0
    patience: int = 2000

    def update(self, finite: bool) -> None:
        """Takes note of one step."""
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.value = max(1.0, self.value / 2)
        elif self.good_steps == self.patience:
            self.value, self.good_steps = min(LARGEST, self.value * 2), 0
