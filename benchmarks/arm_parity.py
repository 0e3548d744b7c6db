"""Do exported models compute the same on a phone's instruction set? Runs them under an emulated
Cortex-A76 and on this computer.

  python benchmarks/arm_parity.py
  --models=runs/demo/model_float32.tflite,runs/demo/model_int8.tflite

takes about a minute the first time (60 MB of packages) and then seconds to minutes a model, and
prints one line a model and delegate. int8 outputs must be equal bit for bit, float32 ones within
1e-5; exit status 1 when they are not. With
--published=proxyless_mobile@96 it also says how far both are from the same network in float64. No
latency is reported: an emulator's says nothing. Needs qemu-user-static (Debian: apt-get install
qemu-user-static), apt-get and dpkg of a Debian whose Python has an aarch64 LiteRT wheel; nothing is
installed, everything lands in --folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from pnas_tf.errors import UserError
from pnas_tf.io import atomic

HERE = Path(__file__).resolve().parent
EMULATOR, PROCESSOR = "qemu-aarch64-static", "cortex-a76"
MAX_DIFFERENCE = 1e-5
PACKAGES = ("python3", "libstdc++6")
PLATFORMS = (
    "manylinux_2_27_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)
# The runtime reads the processor's kind here; without this file it would read the emulating
# computer's and crash.
CPUINFO = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a program. Raises UserError with its last words when it is absent or fails."""
    try:
        return subprocess.run(  # type: ignore[call-overload]
            arguments, check=True, capture_output=True, text=True, **options
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{arguments[0]} is not installed",
            expected="a Debian with qemu-user-static",
            received=str(error),
            fix="apt-get install qemu-user-static",
        ) from error
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"{arguments[0]} failed",
            expected="exit code 0",
            received=(error.stderr or error.stdout or "")[-600:],
            fix="Run it by hand: " + " ".join(arguments),
        ) from error


def prepare_root(folder: Path) -> tuple[Path, Path]:
    """An aarch64 Debian's Python and C library, unpacked below folder/root. Returns (root,
    python)."""
    root = folder / "root"
    if not (root / "complete").exists():
        state = folder / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        options = [
            word
            for setting in (
                "APT::Architecture=arm64",
                "APT::Architectures=arm64",
                f"Dir::State::Lists={state}/lists",
                f"Dir::State::status={state}/status",
                f"Dir::Cache={state}/cache",
                "Debug::NoLocking=1",
            )
            for word in ("-o", setting)
        ]
        run(["apt-get", *options, "update"])
        run(
            [
                "apt-get",
                *options,
                "install",
                "-y",
                "--download-only",
                "--no-install-recommends",
                *PACKAGES,
            ]
        )
        for package in sorted((state / "cache" / "archives").glob("*.deb")):
            run(["dpkg", "-x", str(package), str(root)])
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc" / "cpuinfo").write_text(CPUINFO)
        (root / "complete").touch()
    return root, (root / "usr" / "bin" / "python3").resolve()


def prepare_runtime(folder: Path, *, python: Path) -> Path:
    """The aarch64 wheels of LiteRT (the version installed here) and numpy for that Python,
    unpacked. Returns the folder."""
    site = folder / "site"
    if not (site / "complete").exists():
        version = python.name.removeprefix("python")
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary=:all:",
                *platforms,
                "--implementation",
                "cp",
                "--python-version",
                version,
                "--abi",
                f"cp{version.replace('.', '')}",
                "--dest",
                str(folder / "wheels"),
                f"ai-edge-litert=={metadata.version('ai-edge-litert')}",
                "numpy<2.3",
            ]
        )
        for wheel in (folder / "wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        (site / "complete").touch()
    return site


def make_inputs(model: Path, *, images: int, seed: int) -> np.ndarray:
    """Random inputs [images, batch, height, width, channels] over the whole range of the model's
    input type."""
    details = Interpreter(str(model)).get_input_details()[0]
    generator = np.random.default_rng(seed)
    shape = (images, *details["shape"])
    if np.issubdtype(details["dtype"], np.integer):
        span = np.iinfo(details["dtype"])
        return generator.integers(span.min, span.max, shape, dtype=details["dtype"], endpoint=True)
    return generator.uniform(-1.0, 1.0, shape).astype(details["dtype"])


def compare(here: np.ndarray, there: np.ndarray) -> dict[str, object]:
    """The verdict on two outputs of one model."""
    largest = float(np.max(np.abs(here.astype(np.float64))))
    difference = float(np.max(np.abs(here.astype(np.float64) - there.astype(np.float64))))
    whole = bool(np.issubdtype(here.dtype, np.integer))
    equal = bool(np.array_equal(here, there))
    return {
        "dtype": str(here.dtype),
        "outputs": here.size,
        "differing": int(np.count_nonzero(here != there)),
        "largest_difference": difference,
        "largest_output": largest,
        "relative_difference": difference / largest if largest else 0.0,
        "agrees": equal
        if whole
        else bool(np.isfinite(difference) and difference <= MAX_DIFFERENCE),
    }


def published_network(
    words: str, folder: Path, *, probabilities: bool
) -> tuple[Path, Callable[[np.ndarray], np.ndarray]]:
    """A published network with random weights ("proxyless_mobile@96": at 96 pixels) as float32
    .tflite, and the same network in float64.

    probabilities: both end in a softmax, as pnas export has it unless told otherwise; else in
    logits.
    """
    import tf_keras as keras

    from pnas_tf.networks.network import build_network, with_probabilities
    from pnas_tf.space.published import published
    from pnas_tf.tflite.convert import convert
    from pnas_tf.tflite.rewrites.choice import REWRITES
    from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

    name, _, resolution = words.partition("@")
    architecture = published(name, resolution=int(resolution or 224))
    keras.utils.set_random_seed(0)
    model = build_network(architecture)
    ending = with_probabilities if probabilities else lambda network: network
    kind = "probabilities" if probabilities else "logits"
    path = atomic.write_bytes(
        folder / f"{name}_{architecture.space.resolution}_{kind}.tflite",
        convert(apply_rewrites(ending(model), REWRITES), "float32"),
    )
    keras.backend.set_floatx("float64")
    exact = build_network(architecture)
    exact.set_weights([weight.astype(np.float64) for weight in model.get_weights()])
    exact = ending(exact)
    keras.backend.set_floatx("float32")
    return path, lambda images: np.stack(
        [exact(image.astype(np.float64), training=False).numpy() for image in images]
    )


def check_model(
    model: Path,
    *,
    folder: Path,
    root: Path,
    python: Path,
    site: Path,
    delegate: str,
    images: int,
    exact: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Runs one model on both processors and compares. exact: inputs -> the outputs in float64,
    where they can be had."""
    inputs, here, there = folder / "inputs.npy", folder / "x86.npy", folder / "arm.npy"
    np.save(inputs, make_inputs(model, images=images, seed=0))
    script = str(HERE / "run_model_once.py")
    words = [str(model.resolve()), str(inputs)]
    run([sys.executable, script, *words, str(here), "1", delegate])
    run(
        [
            EMULATOR,
            "-cpu",
            PROCESSOR,
            "-L",
            str(root),
            str(python),
            "-S",
            script,
            *words,
            str(there),
            "1",
            delegate,
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site)},
    )
    row = {
        "model": model.name,
        "sha256": atomic.sha256_of(model),
        "delegate": delegate,
        **compare(np.load(here), np.load(there)),
    }
    if exact is not None:
        truth = exact(np.load(inputs))
        row |= {
            f"largest_difference_from_float64_{name}": float(np.abs(np.load(path) - truth).max())
            for name, path in (("here", here), ("arm", there))
        }
    return row


def main() -> int:
    """Prepares the emulated system once, checks every model, writes the rows, says whether all
    agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="", help=".tflite files, comma-separated")
    parser.add_argument(
        "--published",
        default="",
        help="published networks with random weights, NAME@RESOLUTION, comma-separated; "
        "compared with float64 too",
    )
    parser.add_argument(
        "--logits",
        action="store_true",
        help="published networks end in logits, as with tools/export --noprobabilities",
    )
    parser.add_argument("--folder", default="build/arm64", help="where the emulated system is kept")
    parser.add_argument("--images", type=int, default=2, help="random inputs a model")
    parser.add_argument(
        "--delegates",
        default="xnnpack",
        help="xnnpack (what is shipped and measured), none, or both with a comma",
    )
    parser.add_argument(
        "--output", default="build/arm_parity.json", help="where the rows are written"
    )
    options = parser.parse_args()
    folder = Path(options.folder).resolve()
    run([EMULATOR, "--version"])
    root, python = prepare_root(folder)
    site = prepare_runtime(folder, python=python)
    rows = []
    jobs: list[tuple[Path, Callable[[np.ndarray], np.ndarray] | None]] = [
        (Path(name), None) for name in options.models.split(",") if name
    ]
    jobs += [
        published_network(words, folder, probabilities=not options.logits)
        for words in options.published.split(",")
        if words
    ]
    for path, exact in jobs:
        for delegate in options.delegates.split(","):
            row = check_model(
                path,
                folder=folder,
                root=root,
                python=python,
                site=site,
                delegate=delegate,
                images=options.images,
                exact=exact,
            )
            rows.append(row)
            print(
                "{model} {delegate}: {outputs} {dtype} outputs, {differing} differ, largest "
                "difference {largest_difference:.3g} "
                "({relative_difference:.2g} of the largest output {largest_output:.4g}): ".format(
                    **row
                )
                + ("agrees" if row["agrees"] else "DIFFERS"),
                flush=True,
            )
            if exact is not None:
                here, arm = (
                    row[f"largest_difference_from_float64_{name}"] for name in ("here", "arm")
                )
                print(f"  from float64: here {here:.3g}, ARM {arm:.3g}", flush=True)
    print(
        atomic.write_json(
            options.output,
            {
                "processor": PROCESSOR,
                "runtime": f"ai-edge-litert {metadata.version('ai-edge-litert')}",
                "rows": rows,
            },
        )
    )
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
