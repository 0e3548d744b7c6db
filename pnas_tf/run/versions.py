"""Whether the packages that are installed are those that pnas_tf was made for. Knows nothing of
what they do."""

from __future__ import annotations

from importlib import metadata

from pnas_tf.run.terminal import warn

_NAME = "pnas_tf"
_PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert")  # whose versions decide what works


def warn_of_versions() -> None:
    """Tells of packages outside the ranges of pyproject.toml: what fails later may come of that."""
    try:
        wanted = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:  # a checkout that was not installed
        return
    for line in wanted:
        found = _misfit(line)
        if found:
            warn(
                f"{found}; what fails from here on may come of that. pip install --upgrade "
                f"'{line}' mends it"
            )


def _misfit(line: str) -> str:
    """Words on a requirement that is not met; "" where it is, or is not wanted here."""
    from packaging.requirements import Requirement

    if not line.replace("_", "-").startswith(_PACKAGES):
        return ""
    requirement = Requirement(line)
    is_wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if requirement.name.replace("_", "-") not in _PACKAGES or not is_wanted:
        return ""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed (pnas_tf is made for {line})"
    fits = requirement.specifier.contains(version, prereleases=True)
    return "" if fits else f"{requirement.name} {version} is installed (pnas_tf is made for {line})"
