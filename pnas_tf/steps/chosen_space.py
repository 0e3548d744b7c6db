"""What a user is told of the search space that --space=auto chose. Knows nothing of steps."""

from __future__ import annotations

from pnas_tf.config import SpaceConfig
from pnas_tf.interop.pretrained_files import imagenet_advice
from pnas_tf.run.terminal import say
from pnas_tf.steps.inputs import Inputs


def tell_space(call: Inputs) -> None:
    """Says what was chosen by --space=auto because photographs are few, or for weights to start
    from, and what helps few photographs more."""
    from pnas_tf.data.run_space import AUTO, are_few_photographs, are_small

    facts, asked = call.data.facts, call.configs[SpaceConfig].space
    few = are_few_photographs(facts)
    if asked == AUTO and (few or call.source):
        origin = f" of {call.source}" if call.searched_space is not None else ""
        images = f"{facts.training_examples} photographs"
        if are_small(facts):
            images = f"images of {facts.short_side} px"
        say(
            f"space {call.space.name}{origin} at {call.space.resolution} px, for {images}; "
            "--space and --resolution choose others"
        )
    if few and not call.source:
        say(
            "starts from random weights, which so few photographs teach little (17 flowers: 47 % "
            f"right, from ImageNet's 95 %): {imagenet_advice(asked)}"
        )
