"""Makes the second task from photographs that Debian ships as desktop backgrounds: which photograph
is this 64-px patch of?

  apt-get install lomiri-wallpapers mate-backgrounds plasma-workspace-wallpapers
  python -m benchmarks.evidence.photographs --output=runs/photographs

Each photograph is a class. It is scaled to a short side of 1024 pixels and cut into squares of 128,
of which every fourth is for testing; a square gives its four quarters. No two images share a pixel.
Takes about half a minute; the folder is then
--dataset=folder:runs/photographs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pnas_tf.errors import UserError

SIDE, SQUARE, PATCH = 1024, 128, 64
# Photographs alone, without drawings and renderings: 12 of lomiri-wallpapers by its contributors,
# 12 of mate-backgrounds, 11 of KDE's.
PHOTOGRAPHS = (
    *(
        f"backgrounds/{name}.jpg"
        for name in (
            "Bridge_by_Sander_Klootwijk",
            "Dragonfly_by_Bolly",
            "free_by_Peter_Nerlich",
            "Wine_by_Jakkub_Mede",
            "Kleiber_by_Lukas_Baubkus",
            "aitzgorri_by_Aitzol_Berasategi",
            "friends_by_Aitzol_Berasategi",
            "greentock_by_Peter_Nerlich",
            "life_by_Aitzol_Berasategi",
            "picosdeeuropa_by_Aitzol_Berasategi",
            "seeding_by_Clements_Engelhardt",
            "sunset_by_Aitzol_Berasategi",
        )
    ),
    *(
        f"backgrounds/mate/nature/{name}.jpg"
        for name in (
            "Aqua",
            "Blinds",
            "Dune",
            "FreshFlower",
            "Garden",
            "GreenMeadow",
            "LadyBird",
            "RainDrops",
            "Storm",
            "TwoWings",
            "Wood",
            "YellowFlower",
        )
    ),
    *(
        f"wallpapers/{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater",
            "ColdRipple",
            "ColorfulCups",
            "DarkestHour",
            "EveningGlow",
            "FallenLeaf",
            "Grey",
            "Kite",
            "OneStandsOut",
            "Path",
            "summer_1am",
        )
    ),
)


def main() -> int:
    """Cuts every photograph; prints how many images there are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, default=Path("/usr/share"), help="folder that the packages fill"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/photographs"),
        help="folder to be made; must not exist",
    )
    options = parser.parse_args()
    missing = [name for name in PHOTOGRAPHS if not (options.photographs / name).is_file()]
    if missing or options.output.exists():
        raise UserError(
            "photographs",
            expected="all of them, and an output folder that is not there",
            received=f"missing: {missing}" if missing else f"{options.output} exists",
            fix="Install the three packages named in --help; or delete the folder to make it anew.",
        )
    partial = options.output.with_name(f"{options.output.name}.partial-{os.getpid()}")
    counts = {"train": 0, "test": 0}
    for name in PHOTOGRAPHS:
        for part, count in cut(
            options.photographs / name, partial / "{part}" / class_name(name)
        ).items():
            counts[part] += count
    partial.rename(options.output)
    print(
        f"wrote {options.output}: {len(PHOTOGRAPHS)} photographs, {counts['train']} training and "
        f"{counts['test']} test images"
    )
    return 0


def class_name(photograph: str) -> str:
    """ "Aqua" of backgrounds/mate/nature/Aqua.jpg; KDE's files are named by their size, so theirs
    is the folder's."""
    path = Path(photograph)
    return path.parts[1] if path.parts[0] == "wallpapers" else path.stem


def cut(photograph: Path, output: Path) -> dict[str, int]:
    """Writes the patches of one photograph as PNG below `output`, whose {part} becomes train or
    test; returns how many of each."""
    from PIL import Image

    image = Image.open(photograph).convert("RGB")
    scale = SIDE / min(image.size)
    image = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    counts = {"train": 0, "test": 0}
    for row in range(image.height // SQUARE):
        for column in range(image.width // SQUARE):
            part = "test" if (row + 2 * column) % 4 == 0 else "train"
            folder = Path(str(output).format(part=part))
            folder.mkdir(parents=True, exist_ok=True)
            for y in range(row * SQUARE, (row + 1) * SQUARE, PATCH):
                for x in range(column * SQUARE, (column + 1) * SQUARE, PATCH):
                    image.crop((x, y, x + PATCH, y + PATCH)).save(folder / f"{y:04d}_{x:04d}.png")
                    counts[part] += 1
    return counts


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
