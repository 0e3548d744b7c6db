"""When a search does what: its two phases (section 4.2), the weights' rate in each, and which
weight steps are followed by architecture steps. Knows nothing of what a step does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pnas_tf.config import SearchConfig, SearchTuning
from pnas_tf.data.fitted_options import fitted_search, search_sizes, search_tuning_of
from pnas_tf.errors import UserError
from pnas_tf.search.recipe import ONE_SHOT
from pnas_tf.training.schedules import cosine_with_warmup

if TYPE_CHECKING:
    from pnas_tf.data.split import SplitSizes


@dataclass(frozen=True)
class SearchSchedule:
    """The steps of one search, by their number.

    Attributes:
        config: fitted to the images.
        warmup_epochs: of the warm-up phase.
        epochs: of both phases.
        steps_per_epoch: weight steps.

    Raises:
        UserError: alpha would never be trained, by an algorithm that trains it.
    """

    config: SearchConfig
    warmup_epochs: int
    epochs: int
    steps_per_epoch: int

    def __post_init__(self) -> None:
        first, steps = (each * self.steps_per_epoch for each in (self.warmup_epochs, self.epochs))
        trains_alpha = self.config.algorithm != ONE_SHOT and steps > first
        if trains_alpha and not any(map(self.architecture_steps_after, range(first, steps))):
            raise UserError(
                f"--arch_interval={self._tuning.arch_interval}",
                expected=f"architecture steps within the {steps - first} weight steps of the joint "
                "phase",
                received="none",
                fix="Choose a smaller one, or more --search_epochs.",
            )

    @property
    def _tuning(self) -> SearchTuning:
        return search_tuning_of(self.config)

    def phase(self, epoch: int) -> str:
        """Its name."""
        return "warmup" if epoch < self.warmup_epochs else "joint"

    def architecture_steps_after(self, step: int) -> int:
        """How many architecture steps follow weight step number `step`."""
        config, (epoch, before) = self.config, divmod(step, self.steps_per_epoch)
        if epoch - self.warmup_epochs < self._tuning.arch_start_epoch:
            return 0
        spread = config.rl_steps_per_epoch
        if config.algorithm == "reinforce" and spread is not None:
            taken = before * spread // self.steps_per_epoch
            return (before + 1) * spread // self.steps_per_epoch - taken
        return config.arch_steps if (step + 1) % self._tuning.arch_interval == 0 else 0

    def learning_rate(self, step: int) -> float:
        """Of weight step number `step`: cosine to zero within each phase (section 4.2)."""
        warmup_steps = self.warmup_epochs * self.steps_per_epoch
        if step < warmup_steps:
            peak, done, steps = self._tuning.warmup_learning_rate, step, warmup_steps
        else:
            peak, done = self._tuning.search_learning_rate, step - warmup_steps
            steps = self.epochs * self.steps_per_epoch - warmup_steps
        return cosine_with_warmup(done, steps=steps, warmup_steps=0, peak=peak)


def schedule_of(config: SearchConfig, images: SplitSizes) -> SearchSchedule:
    """Of a search of so many images. Raises UserError as `SearchSchedule` does."""
    fitted, sizes = fitted_search(config, images), search_sizes(config, images)
    epochs = sizes.warmup_epochs + sizes.search_epochs
    return SearchSchedule(
        fitted,
        warmup_epochs=epochs if config.algorithm == ONE_SHOT else sizes.warmup_epochs,
        epochs=epochs,
        steps_per_epoch=images.train // sizes.batch_size,
    )


def check_schedule(config: SearchConfig, images: SplitSizes) -> None:
    """Raises UserError where alpha would never be trained. images: of the search, which its epochs
    are fitted to."""
    start = search_tuning_of(config).arch_start_epoch
    epochs = search_sizes(config, images).search_epochs
    if config.algorithm != ONE_SHOT and config.arch_start_epoch is not None and start >= epochs:
        raise UserError(
            f"--arch_start_epoch={start}",
            expected=f"fewer than the {epochs} epochs of --search_epochs",
            received="no epoch in which alpha is trained",
            fix="Choose a smaller one, or more --search_epochs.",
        )
    schedule_of(config, images)
