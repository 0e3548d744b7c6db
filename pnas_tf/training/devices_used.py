"""Says what training runs on, and why a card that is there is not used."""

from __future__ import annotations

import re
from importlib import metadata

import tensorflow as tf

from pnas_tf.errors import number_of
from pnas_tf.run import accelerators
from pnas_tf.run.processors import usable_cores
from pnas_tf.training.distribution import Distribution


def device_lines(distribution: Distribution, words: str) -> list[str]:
    """For the user: one line that names the device, and a warning where a card lies idle.

    Args:
        distribution: as it was started.
        words: what TensorFlow said while it was loaded (`_tf_private.load_quietly`).
    """
    cards = tf.config.list_physical_devices("GPU")
    replicas = distribution.replicas
    workers = f", on each of {replicas.total // replicas.local} workers" * (
        replicas.total > replicas.local
    )
    if not cards:
        parts = f"{replicas.local} parts of " if replicas.local > 1 else ""
        line = f"training runs on: {parts}the CPU ({usable_cores()} cores){workers}"
        return [line, *_alone(distribution), *_idle_card(words)]
    used = cards[: replicas.local]
    names = [tf.config.experimental.get_device_details(card).get("device_name") for card in used]
    text = ", ".join(f"{name or 'a GPU'} (GPU:{number})" for number, name in enumerate(names))
    more = ""
    if len(cards) > len(used):
        more = f"; one of {len(cards)} GPUs: --strategy=mirrored takes all"
    return [f"training runs on: {text}{workers}{more}", *_alone(distribution)]


def _alone(distribution: Distribution) -> list[str]:
    """A warning where several devices were asked for and one is there, as Keras' strategies take
    it: it trains, no faster."""
    if distribution.options.strategy != "mirrored" or distribution.replicas.total > 1:
        return []
    return ["WARNING --strategy=mirrored found one device: training is as without it"]


def _idle_card(words: str) -> list[str]:
    names = accelerators.nvidia_cards()
    hidden = accelerators.hidden_by(len(names))
    version = metadata.version("tensorflow")
    install = f"pip install 'tensorflow[and-cuda]=={version}'"
    if hidden:
        mistaken = hidden.partition("=")[2][:1].isdecimal()
        count = number_of(len(names), "card")
        fault = f"WARNING {hidden} is the number of no card: there is {count}, numbered from 0"
        told = fault if mistaken else f"the NVIDIA card is hidden by {hidden}"
        return [told] if names else []
    if names:
        what = f"{', '.join(names)} is not used"
        fix = f"TensorFlow has no CUDA libraries: {install}"
        if _has_libraries():
            fix = f"update NVIDIA's driver, or install the libraries anew: {install}"
        return [f"WARNING {what} ({_reason(words)}): {fix}"]
    if accelerators.has_card_without_driver():
        return [f"WARNING an NVIDIA card has no driver: install NVIDIA's, then {install}"]
    return []


def _has_libraries() -> bool:
    """Whether what `tensorflow[and-cuda]` brings is there."""
    try:
        metadata.version("nvidia-cudnn-cu12")
    except metadata.PackageNotFoundError:
        return False
    return True


def _reason(words: str) -> str:
    """The line of TensorFlow's that says why, without its file and time."""
    lines = re.findall(r"^[EWI]\d{4} .*?\] (.*(?:cuInit|dlopen|cuda drivers).*)$", words, re.M)
    return lines[-1][:200] if lines else "TensorFlow finds no GPU"
