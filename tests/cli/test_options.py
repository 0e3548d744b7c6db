"""The original's options beside ours: docs/original_options.md held to the code, and what the less used
options do."""

import dataclasses
import re
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from option_values import another_value
from reference_path import logits

from pnas_tf import config
from pnas_tf.cli.flags import Given, define_flags, parse
from pnas_tf.config import PRESETS, DataConfig, OptimizerConfig, SearchConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network, weight_decay_variables
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import Configs
from pnas_tf.search.loop import Search
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.targets import Target
from pnas_tf.search.weight_step import Momentum, top1
from pnas_tf.space.mbconv import MBConvSpace, Stage, tiny
from pnas_tf.space.ops import MBConv
from pnas_tf.steps.inputs import Inputs
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.step import TrainStep

DOCUMENT = Path(__file__).parents[2] / "docs" / "original_options.md"
SECTIONS = ("Search program", "Training program, where it differs", "Set by the presets besides")

# The original's programs, option by option; what stands in brackets was no option but a constant of
# the code.
SEARCH = """path=none gpu=0,1,2,3 resume=off debug=off manual_seed=0 n_epochs=120 init_lr=0.025 lr_schedule_type=cosine dataset=imagenet
train_batch_size=256 test_batch_size=1000 valid_size=50000 opt_type=sgd momentum=0.9 no_nesterov=off weight_decay=4e-5
label_smoothing=0.1 no_decay_keys=None model_init=he_fout init_div_groups=off validation_frequency=1 print_frequency=10 n_worker=32
resize_scale=0.08 distort_color=normal width_stages=24,40,80,96,192,320 n_cell_stages=4,4,4,4,4,1 stride_stages=2,2,2,1,2,1 width_mult=1
bn_momentum=0.1 bn_eps=1e-3 dropout=0 arch_algo=grad warmup_epochs=40 arch_init_type=normal arch_init_ratio=1e-3 arch_opt_type=adam
arch_lr=1e-3 arch_adam_beta1=0 arch_adam_beta2=0.999 arch_adam_eps=1e-8 arch_weight_decay=0 target_hardware=None
grad_update_arch_param_every=5 grad_update_steps=1 grad_binary_mode=full_v2 grad_data_batch=None grad_reg_loss_type=mul#log
grad_reg_loss_lambda=0.1 grad_reg_loss_alpha=0.2 grad_reg_loss_beta=0.3 rl_batch_size=10 rl_update_per_epoch=off
rl_update_steps_per_epoch=300 rl_baseline_decay_weight=0.99 rl_tradeoff_ratio=0.1 warmup_lr(fixed_in_code)=0.05
arch_start_epoch(fixed_in_code)=1"""
TRAINING = """train=off latency=None n_epochs=300 init_lr=0.05 test_batch_size=500 valid_size=None no_decay_keys=bn distort_color=strong
net=proxyless_mobile"""

# An original default under another name or in another form is the published value here.
TRANSLATED = {
    "off": "false",
    "full_v2": "full_recompute",
    "mul#log": "multiplicative_log",
    "grad": "full_recompute",
}
# Published values that are not the original's default; the document's remark says why.
DEPARTURES = {
    ("path", "run_dir"),
    ("dataset", "dataset"),
    ("no_nesterov", "nesterov"),
    ("no_decay_keys", "no_decay"),
    ("width_stages", "space"),
    ("n_cell_stages", "space"),
    ("stride_stages", "space"),
    ("bn_momentum", "bn_momentum"),
    ("target_hardware", "device"),
    ("target_hardware", "objective"),
    ("target_hardware", "target_latency_ms"),
    ("latency", "device"),
    ("valid_size", "train_on_alpha"),
    ("grad_data_batch", "arch_batch_size"),
    ("net", "architecture"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    section: str
    original: str
    default: str
    flag: str
    quick: str
    published: str
    remark: str


def rows():
    found, section = [], ""
    for line in DOCUMENT.read_text().splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        cells = (
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("|")
            else []
        )
        if cells and cells[0] not in ("original", "---"):
            found.append(Row(section, *cells[:5], *cells[5:]))
    return found


ROWS = rows()
WITH_FLAG = [row for row in ROWS if row.flag != "-"]


def classes_by_field():
    classes = [kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)]
    return {field.name: (kind, field) for kind in classes for field in dataclasses.fields(kind)}


FIELDS = classes_by_field()


def equal(cell, value):
    """Whether a cell of the document says `value`."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return cell == {True: "true", False: "false", None: "unset", "": "empty"}.get(value, value)
    return re.fullmatch(r"[0-9.]+(e-?\d+)?", cell) is not None and float(cell) == float(value)


def flag_of(row):
    return re.fullmatch(r"`--([a-z0-9_]+)`", row.flag).group(1)


@pytest.mark.parametrize("listed, section", [(SEARCH, SECTIONS[0]), (TRAINING, SECTIONS[1])])
def test_every_original_option_has_a_row_with_its_default(listed, section):
    wanted = {
        option.replace("(fixed_in_code)", " (fixed in code)").rpartition("=")[::2]
        for option in listed.split()
    }
    assert len(wanted) == len(listed.split()) and {row.section for row in ROWS} == set(SECTIONS)
    documented = {(row.original, row.default) for row in ROWS if row.section == section}
    assert wanted - documented == set()


def test_nothing_is_listed_that_the_original_lacks():
    names = {
        option.split("=")[0].replace("(fixed_in_code)", " (fixed in code)")
        for option in (SEARCH + " " + TRAINING).split()
    }
    assert {row.original for row in ROWS} - names == {"-"}


@pytest.mark.parametrize(
    "row",
    WITH_FLAG,
    ids=lambda row: f"{row.section.split()[0]}-{row.original}-{row.flag.strip('`-')}",
)
def test_defaults_in_the_document_are_those_of_the_code(row):
    kind, field = FIELDS[flag_of(row)]
    assert equal(row.quick, field.default)
    assert equal(row.published, PRESETS["published"].get(kind, {}).get(field.name, field.default))
    published = PRESETS["published"].get(kind, {}).get(field.name, field.default)
    if not equal(row.default, published) and row.published != TRANSLATED.get(row.default):
        assert (row.original, field.name) in DEPARTURES | {("-", field.name)} and row.remark


def test_an_option_without_a_flag_has_its_reason():
    for row in ROWS:
        if row.flag == "-":
            assert (row.quick, row.published) == ("-", "-") and len(row.remark) > 20, row


def test_the_presets_hold_nothing_that_the_document_lacks():
    documented = {flag_of(row) for row in WITH_FLAG} | {"head_epochs"}  # off, as there is no such
    for section in PRESETS.values():
        for kind, values in section.items():
            for name, value in values.items():
                assert FIELDS[name][0] is kind and name in documented, name
                choices = FIELDS[name][1].metadata["choices"]
                assert not choices or value in choices, name
    assert PRESETS["quick"] == {}


def test_flags_are_one_for_each_field():
    # absl refuses a name that two classes share
    values = define_flags(sorted({kind for kind, _ in FIELDS.values()}, key=str))
    assert all(flag_of(row) in values for row in WITH_FLAG)
    for name in re.findall(r"`--([a-z0-9_]+)", DOCUMENT.read_text()):
        assert name in values or name.removeprefix("no") in values or name in ("preset", "help"), (
            name
        )


def test_a_preset_lies_below_what_a_folder_keeps_and_above_it_where_it_is_given_anew():
    assert FIELDS["preset"][1].metadata["choices"] == tuple(sorted(PRESETS))
    kept = {"RunConfig": {"preset": "published"}, "SearchConfig": {"warmup_epochs": 7}}

    def chosen(flags, stored=kept, **more):
        config = Given({"search_epochs": 3, **flags}, stored, **more).config(SearchConfig)
        return config.search_epochs, config.warmup_epochs, config.arch_interval

    assert chosen({}) == (3, 7, 5)
    assert chosen({"preset": "published"}) == (3, 40, 5)
    assert chosen({"preset": "quick"}) == (3, None, None)
    assert chosen({"preset": "published"}, {}) == (3, 40, 5)
    assert chosen({}, {"SearchConfig": {"warmup_epochs": 7}}) == (3, 7, None)
    assert chosen({}, fresh=(SearchConfig,)) == (3, None, None)
    assert chosen({"preset": "published"}, fresh=(SearchConfig,)) == (3, 40, 5)
    usual = Given({"search_epochs": 3, "preset": "published"}, kept).usual.config(SearchConfig)
    assert (usual.search_epochs, usual.warmup_epochs) == (120, 40)


@pytest.mark.parametrize(
    "name", [name for name, (_, option) in FIELDS.items() if option.default is None]
)
def test_an_empty_value_takes_back_an_option_without_a_default(name):
    kind = FIELDS[name][0]
    stored = {kind.__name__: {name: another_value(kind(), name)}}
    given = parse(["pnas", f"--{name}="], define_flags([kind]))
    assert given.flags == {name: None}
    assert getattr(dataclasses.replace(given, stored=stored).config(kind), name) is None
    for wrong in ("many", " "):
        with pytest.raises(UserError, match=f"--{name} has no usable value"):
            parse(["pnas", f"--{name}={wrong}"], define_flags([kind]))


# What the options do.

SPACE = MBConvSpace(
    "options",
    8,
    3,
    stem_width=4,
    first_width=4,
    stages=(Stage(4, 2, 1),),
    head_width=8,
    candidates=(MBConv(3, 2), MBConv(5, 2)),
)


class Noise:
    """32 random images in each part; remembers the sizes of the batches of the validation split."""

    name = "noise"

    def __init__(self):
        generator = np.random.default_rng(0)
        self.images = generator.standard_normal((32, 8, 8, 3)).astype(np.float32)
        self.labels = generator.integers(0, 3, 32).astype(np.int32)
        self.validation_split = types.SimpleNamespace(labels=self.labels)
        self.alpha_sizes = []

    def steps_per_epoch(self, split, *, batch_size):
        return len(self.labels) // batch_size

    def train_batches(self, *, batch_size, seed, epoch, start_batch=0):
        for start in range(start_batch * batch_size, 33 - batch_size, batch_size):
            yield (
                tf.constant(self.images[start : start + batch_size]),
                tf.constant(self.labels[start : start + batch_size]),
            )

    def validation_batches(self, *, batch_size, seed, epoch, start_batch=0):
        for batch in self.train_batches(
            batch_size=batch_size, seed=seed, epoch=epoch, start_batch=start_batch
        ):
            self.alpha_sizes.append(batch_size)
            yield batch


def searched(folder, **options):
    quantity = macs_quantity(SPACE)
    chosen = SearchConfig(
        **{
            "warmup_epochs": 1,
            "search_epochs": 2,
            "arch_start_epoch": 0,
            "search_batch_size": 8,
            **options,
        }
    )
    search = Search(
        Supernet(SPACE, SearchConfig(weights_init="he_fout")),
        Noise(),
        SearchTargets((Target(quantity, quantity.of((0, 0))),), chosen),
        SearchRecipe(chosen, OptimizerConfig(), seed=0),
        folder=folder,
    )
    search.run()
    return search


@pytest.mark.parametrize("steps", [3, 9])
def test_reinforce_steps_are_spread_over_an_epoch(tmp_path, steps):
    """4 weight steps an epoch: fewer and more architecture steps than that, 2 joint epochs."""
    search = searched(
        tmp_path, algorithm="reinforce", rl_steps_per_epoch=steps, rl_images=16, rl_networks=2
    )
    assert search.architecture.step == 2 * steps and set(search.dataset.alpha_sizes) == {16}


def test_architecture_batches_and_validation(tmp_path):
    search = searched(
        tmp_path,
        arch_batch_size=16,
        arch_interval=4,
        arch_steps=2,
        validate_epochs=2,
        search_epochs=3,
    )
    assert search.architecture.step == 3 * 2 and set(search.dataset.alpha_sizes) == {16}
    validated = [row["validation_accuracy"] for row in search.loop.history]
    assert [value is None for value in validated] == [True, False, True, False]
    path = tuple(int(np.argmax(alpha)) for alpha in search.architecture.alphas)
    right = [
        float(
            top1(
                logits(search.supernet, search.dataset.images[part], path=path),
                search.dataset.labels[part],
            )
        )
        for part in (slice(0, 16), slice(16, 32))
    ]
    assert validated[-1] == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    "option, algorithm", [("arch_batch_size", "full"), ("rl_images", "reinforce")]
)
def test_a_batch_that_is_too_large_is_refused_by_its_name(tmp_path, option, algorithm):
    with pytest.raises(UserError, match=f"--{option}=64"):
        searched(tmp_path, algorithm=algorithm, **{option: 64})


def test_rates_of_zero_freeze_the_weights(tmp_path):
    """The original's --debug."""
    search = searched(tmp_path, warmup_learning_rate=0.0, search_learning_rate=0.0)
    before = Supernet(SPACE, SearchConfig(weights_init="he_fout")).named_variables()
    for block in search.supernet.all_blocks():
        for name, variable in block.named.items():
            if variable.trainable:
                np.testing.assert_array_equal(variable.numpy(), before[name])
    assert search.architecture.step > 0


@pytest.mark.parametrize(
    "init, div_groups, place, deviation",
    [
        ("he_fout", False, "project", np.sqrt(2 / 16)),
        ("he_fin", False, "project", np.sqrt(2 / 48)),
        ("he_fout", True, "depthwise", np.sqrt(2 / 9)),
        ("he_fout", False, "depthwise", np.sqrt(2 / (9 * 48))),
        ("he_fin", False, "depthwise", np.sqrt(2 / (9 * 48))),
    ],
)
@pytest.mark.slow
def test_initial_weights_have_the_deviation_of_their_fan(init, div_groups, place, deviation):
    """432 and 768 numbers: within 15 % of the deviation, more than 4 standard errors (the seed is
    fixed besides)."""
    supernet = Supernet(tiny(), SearchConfig(weights_init=init, init_div_groups=div_groups))
    block = supernet.mixed_ops[1].candidates[0]
    assert block.block.op == MBConv(3, 3) and block.block.in_channels == 16
    assert np.std(block.by_layer[place][0].numpy()) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize(
    "no_decay, decayed",
    [
        ("bn_bias", {"kernel"}),
        ("bn", {"kernel", "bias"}),
        ("none", {"kernel", "bias", "gamma", "beta"}),
    ],
)
def test_weight_decay_acts_on_what_no_decay_leaves(no_decay, decayed):
    """Where the loss has no gradient, a step at rate 1 moves by the decay alone."""
    supernet = Supernet(
        SPACE,
        SearchConfig(weights_init="he_fout"),
        numerics=Numerics(weight_decay=0.25, no_decay=no_decay),
    )
    named = {
        name: variable
        for block in supernet.blocks_on((0, 1))
        for name, variable in block.named.items()
        if variable.trainable
    }
    variables = list(named.values())
    for variable in variables:
        variable.assign_add(tf.ones_like(variable))
    before = {name: variable.numpy() for name, variable in named.items()}
    optimizer = Momentum(OptimizerConfig(momentum=0.0, nesterov=False))
    for block in supernet.blocks_on((0, 1)):
        size, channels = block.block.in_size, block.block.in_channels
        x = [tf.ones((2, size, size, channels))]
        y, backward = supernet.engine.weight_pass(block, x, nesterov=False, input_gradient=True)
        scalars = [tf.constant(1.0), optimizer.momentum]
        nothing = [tf.zeros_like(y[0])]
        backward(nothing, momenta=optimizer.momenta(block), scalars=scalars)[1].run()
    for name, variable in named.items():
        kept = 0.75 if name.rsplit("/", 1)[-1] in decayed else 1.0
        np.testing.assert_allclose(variable, kept * before[name], rtol=1e-6, atol=1e-7)
    network = build_network(supernet.architecture_of((0, 1)))
    kinds = {
        variable.name.rsplit("/", 1)[-1].removesuffix(":0").removeprefix("depthwise_")
        for variable in weight_decay_variables(network, no_decay=no_decay)
    }
    assert kinds == decayed


def test_the_last_training_decays_biases_where_asked():
    moved = {}
    for no_decay in ("bn_bias", "bn"):
        network = build_network(
            Supernet(SPACE, SearchConfig(weights_init="he_fout")).architecture_of((0, 1))
        )
        network.set_weights(
            [np.full(weight.shape, 0.5, np.float32) for weight in network.get_weights()]
        )
        step = TrainStep(
            network,
            OptimizerConfig(
                momentum=0.0,
                nesterov=False,
                weight_decay=0.1,
                label_smoothing=0.0,
                no_decay=no_decay,
            ),
        )
        step(tf.constant(Noise().images), tf.constant(Noise().labels), learning_rate=1.0, step=0)
        moved[no_decay] = network.get_weights()[-1]
    np.testing.assert_allclose(moved["bn_bias"] - moved["bn"], 0.1 * 0.5, rtol=1e-4)


def test_the_last_training_has_its_own_colour_distortion(tmp_path, monkeypatch):
    seen = []

    def load_dataset(data, *, resolution, arrays):
        seen.append(data.distort_color)
        raise InterruptedError

    monkeypatch.setattr("pnas_tf.data.dataset.load_dataset", load_dataset)
    Supernet(SPACE, SearchConfig(weights_init="he_fout")).architecture_of((0, 1)).save(
        tmp_path / Artifact.ARCHITECTURE
    )
    for own in (None, "strong"):
        configs = Configs([DataConfig(), TrainConfig(train_distort_color=own)])
        with pytest.raises(InterruptedError):
            Inputs(RunFolder(tmp_path), configs).network_dataset  # noqa: B018
    assert seen == ["normal", "strong"]
