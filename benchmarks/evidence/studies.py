"""The studies of docs/evidence.md, as data."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.evidence.plan import Budget, Study
from pnas_tf.config import DataConfig, DeriveConfig, SearchConfig, TrainConfig
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

FASHION = DataConfig(
    dataset="fashion_mnist",
    offline_files="/usr/share/datasets/fashion-mnist",
    train_images=35_000,
    alpha_size=5_000,
    augmentation="none",
)
K357_E36 = tuple(
    MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)
)  # the paper's
K357_E136 = tuple(MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (1, 3, 6))

# Twelve choice blocks at 14, 7 and 4 pixels behind a stem at 28: 3 M MACs at its middle.
WIDE = MBConvSpace(
    "k357_e136_12",
    28,
    10,
    8,
    8,
    (Stage(16, 4, 2), Stage(24, 4, 2), Stage(40, 4, 2)),
    128,
    K357_E136,
    stem_stride=1,
)
# Nine at the same sizes behind a stem at 14: a third of that.
SMALL = MBConvSpace(
    "k357_e136_9", 28, 10, 8, 8, (Stage(16, 3, 1), Stage(24, 3, 2), Stage(40, 3, 2)), 128, K357_E136
)
# The paper's six candidates at half the width: networks of half a million MACs, whose capacity is
# what limits them.
NARROW = MBConvSpace(
    "k357_e36_9", 28, 10, 8, 8, (Stage(8, 3, 1), Stage(16, 3, 2), Stage(32, 3, 2)), 96, K357_E36
)
# Two stages so narrow that capacity should limit them; with expansion 6 alone every network has
# what the uniform ones have.
K357_E6 = tuple(MBConv(kernel, 6) for kernel in (3, 5, 7))
TWO_STAGES = MBConvSpace(
    "k357_e36_44", 28, 10, 8, 8, (Stage(6, 4, 1), Stage(8, 4, 2)), 32, K357_E36
)

RECIPE = TrainConfig(
    epochs=3,
    batch_size=64,
    learning_rate=0.1,
    learning_rate_warmup_epochs=0.5,
    train_on_alpha=False,
    evaluate_epochs=0,
)
SEARCH = SearchConfig(
    warmup_epochs=1,
    search_epochs=2,
    search_batch_size=128,
    arch_start_epoch=0,
    arch_learning_rate=0.1,
    regulariser="absolute",
)


def _exploration(
    name: str,
    title: str,
    space: SearchSpace,
    fraction: float,
    *,
    networks: int = 5,
    **changes: object,
) -> Study:
    """Does architecture matter here? Random networks of one latency against seeds of one
    network."""
    fields: dict[str, Any] = {"data": FASHION, "training": RECIPE, "search": SEARCH, **changes}
    return Study(
        name,
        title,
        space=space,
        budgets=(Budget("middle", fraction),),
        searches=(),
        random_networks=networks,
        uniform_seeds=(),
        seed_spread=3,
        tested=False,
        **fields,
    )


# At these targets the accuracy that latency buys is largest; a uniform network's latency is 1 to 3
# % below each.
FASHION_STUDY = Study(
    "fashion",
    "Fashion-MNIST",
    dataclasses.replace(FASHION, train_images=None),
    NARROW,
    dataclasses.replace(RECIPE, epochs=4),
    dataclasses.replace(SEARCH, arch_interval=1),
    budgets=(Budget("low", 0.1143), Budget("middle", 0.1482), Budget("high", 0.1695)),
    searches=(
        *(("two_path", budget, (0, 1, 2)) for budget in ("middle", "low", "high")),
        ("reinforce", "middle", (0, 1, 2)),
    ),
    special=(("float32_plain", (0, 1, 2)),),
    reinforce={"arch_interval": 2, "rl_networks": 5, "rl_reward": "absolute"},
    derive_networks=1,
    derive_trained=0,
)

# A space of fewer choices, trained longer: seeds move less there. A uniform network's latency is
# 1.5 % below each target. Alpha is learnt on weights that hardly move any more, so that no
# candidate is ahead because it was sampled more often.
STAGES_STUDY = Study(
    "two_stages",
    "Fashion-MNIST, two narrow stages",
    dataclasses.replace(FASHION, train_images=None),
    dataclasses.replace(TWO_STAGES, name="k357_e6_44", candidates=K357_E6),
    dataclasses.replace(RECIPE, epochs=6),
    dataclasses.replace(
        SEARCH, warmup_epochs=4, search_epochs=1, arch_interval=1, search_learning_rate=0.001
    ),
    budgets=(Budget("low", 0.089), Budget("middle", 0.1252), Budget("high", 0.1742)),
    searches=tuple(("two_path", budget, (0, 1, 2)) for budget in ("middle", "low", "high")),
    seed_spread=3,
    derive_trained=0,
)

# Candidates of unequal worth: on few channels kernel 5 or 7 at expansion 1 costs what kernel 3 at
# expansion 6 does, and computes little.
K357_E16 = tuple(MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (1, 6))
UNEQUAL_STUDY = dataclasses.replace(
    STAGES_STUDY,
    name="unequal",
    title="Fashion-MNIST, candidates of unequal worth",
    space=dataclasses.replace(TWO_STAGES, name="k357_e16_44", candidates=K357_E16),
    search=dataclasses.replace(STAGES_STUDY.search, warmup_epochs=5),
    budgets=(Budget("low", 0.1024), Budget("middle", 0.1269), Budget("high", 0.1613)),
    random_networks=10,
    derive_trained=DeriveConfig.derive_trained,
)

# The first choice of a main study, where the options of the search were tried as well.
TRY_SMALL = Study(
    "try_small",
    "nine blocks",
    dataclasses.replace(FASHION, train_images=25_000),
    SMALL,
    dataclasses.replace(RECIPE, epochs=3),
    dataclasses.replace(SEARCH, warmup_epochs=1, search_epochs=2, regulariser="multiplicative_log"),
    budgets=(Budget("low", 0.1452), Budget("middle", 0.2097), Budget("high", 0.284)),
    searches=(("two_path", "middle", (0,)),),
    variants=(
        ("hinge", (("regulariser", "hinge"),)),
        ("absolute", (("regulariser", "absolute"),)),
        ("absolute_slow", (("regulariser", "absolute"), ("arch_learning_rate", 0.05))),
    ),
    tested=False,
    derive_networks=1,
    derive_trained=0,
)

# Colour photographs: 64 pixels, eight choice blocks at 16, 8 and 4 pixels behind a stem at 32.
PHOTOGRAPHS = DataConfig(dataset="folder:runs/photographs", alpha_size=2_000, augmentation="none")
PHOTO_SPACE = MBConvSpace(
    "k357_e36_8", 64, 35, 8, 8, (Stage(8, 2, 2), Stage(16, 3, 2), Stage(32, 3, 2)), 96, K357_E36
)
PHOTO_STUDY = Study(
    "photographs",
    "64-px patches of 35 photographs",
    PHOTOGRAPHS,
    PHOTO_SPACE,
    dataclasses.replace(RECIPE, epochs=8),
    dataclasses.replace(SEARCH, warmup_epochs=3, search_epochs=5),
    budgets=(Budget("middle", 0.1932),),
    searches=(("two_path", "middle", (0, 1, 2)),),
    variants=(("multiplicative_log", (("regulariser", "multiplicative_log"),)),),
    derive_networks=1,
    derive_trained=0,
)

STUDIES = {
    study.name: study
    for study in (
        _exploration(
            "try_wide",
            "twelve blocks",
            WIDE,
            0.26,
            training=dataclasses.replace(RECIPE, epochs=4),
            data=dataclasses.replace(FASHION, train_images=21_000),
        ),
        TRY_SMALL,
        _exploration(
            "try_few_images",
            "nine narrow blocks, fewer images",
            NARROW,
            0.2447,
            networks=3,
            training=dataclasses.replace(RECIPE, epochs=6),
            data=dataclasses.replace(FASHION, train_images=20_000),
        ),
        # The first main study: 3 epochs, at targets where a quarter more latency bought one or two
        # tenths of a point.
        _exploration(
            "try_three_epochs",
            "nine narrow blocks, fewer epochs, larger targets",
            NARROW,
            0.2447,
            networks=8,
        ),
        _exploration(
            "try_two_stages",
            "eight blocks of widths 6 and 8",
            TWO_STAGES,
            0.1378,
            networks=8,
            training=dataclasses.replace(RECIPE, epochs=4),
            data=dataclasses.replace(FASHION, train_images=20_000),
        ),
        FASHION_STUDY,
        STAGES_STUDY,
        UNEQUAL_STUDY,
        PHOTO_STUDY,
    )
}
