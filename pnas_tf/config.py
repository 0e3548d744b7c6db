"""Every option of every program, with its default, once.

pnas_tf/cli/flags.py makes one absl flag of each field (same name). A default of the original
program (Cai et al.'s code) is the default of `--preset=published`; see docs/original_options.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pnas_tf.options import Options, Where, option

# Smallest area of a random crop: the published one is for 1.28 million images and hundreds of
# epochs, the other what --augmentation=auto takes.
CROP_SCALE, AUTO_CROP_SCALE = 0.08, 0.35
# Where there are images enough; else `data.fitted_options` chooses others. All learning rates below
# are for BATCH_SIZE images a step.
BATCH_SIZE, EPOCHS = 64, 30
DERIVE_TRAIN_EPOCHS, FINETUNE_EPOCHS = 0.5, 2
DERIVE_LEARNING_RATE, FINETUNE_LEARNING_RATE = 0.025, 0.02
_BY_BATCH = f"of fewer than {BATCH_SIZE} images a step in proportion less"
# A few broken files among many are every folder's lot; more are a copy that went wrong.
UNREADABLE_PERCENT = 1


class SearchTuning(NamedTuple):
    """Options of SearchConfig that have one value for a supernet of random weights, and another for
    one that starts from pretrained ones."""

    warmup_epochs: int
    search_epochs: int
    warmup_learning_rate: float
    search_learning_rate: float
    arch_start_epoch: int
    arch_interval: int
    arch_learning_rate: float


SEARCH_FROM_SCRATCH = SearchTuning(15, 25, 0.2, 0.1, 1, 2, 0.05)
# Chosen on validation photographs (docs/transfer.md).
SEARCH_FROM_PRETRAINED = SearchTuning(3, 8, 0.05, 0.05, 0, 1, 0.1)


class Tuning(NamedTuple):
    """Options of TrainConfig that have one value for a network that starts from random or supernet
    weights, and another for fine-tuning."""

    epochs: int
    learning_rate: float
    head_epochs: int
    train_batch_norm: str


FROM_SCRATCH = Tuning(EPOCHS, 0.05, 0, "moving")
# For 500 to 5,000 photographs, chosen on validation images (docs/howto/pretrained.md).
FINE_TUNING = Tuning(12, 0.005, 2, "frozen")
ADAMW_RATE = 0.02  # AdamW's learning rate in parts of SGD's
# Supernet weights have learnt the classes, and statistics of many paths (docs/transfer.md).
FROM_SUPERNET = Tuning(30, 0.02, 2, "moving")


@dataclass(frozen=True)
class RunConfig(Options):
    """Where a run lives and what makes it repeatable."""

    run_dir: str = option(
        "runs/run",
        "Folder that holds everything one run makes; a started one is continued.",
        fixed=False,
    )
    restart: bool = option(
        False,
        "Where options or data are others than what a result was made from, move it to RUN/old-N "
        "and make it anew; without this the call is refused.",
        fixed=False,
    )
    preset: str = option(
        "quick",
        "Defaults taken together, of all programs that work on the folder: single flags override. "
        "Given anew, its values count as flags do.",
        choices=("published", "quick"),
        fixed=False,
    )
    seed: int = option(0, "Seed of initial weights, data order, augmentation and sampling.")
    tensorboard: bool = option(
        True,
        "Write events for `tensorboard --logdir=RUN`: curves, alpha, the architecture, and options "
        "beside results.",
        fixed=False,
    )


@dataclass(frozen=True)
class OutputConfig(Options):
    """What a call prints. The log in the run folder has everything."""

    verbose: bool = option(False, "Print every detail, as it stands in the log.", fixed=False)
    quiet: bool = option(False, "Print nothing but warnings and errors.", fixed=False)


@dataclass(frozen=True)
class DataConfig(Options):
    """The images and their three disjoint splits: train, validation, test."""

    dataset: str = option(
        "digits",
        "digits, any tensorflow_datasets name, folder:PATH with one folder a class, or csv:TABLE. "
        "A run knows it by its images, wherever they lie.",
        fixed=False,
    )
    data_dir: str = option("", "TFDS data folder; empty is TFDS's own default.", fixed=False)
    alpha_fraction: float = option(
        0.2,
        "Part of the training images that trains alpha, class-balanced, at least one of each "
        "class.",
        above=0,
        below=1,
        unless=(Where("alpha_size"),),
    )
    alpha_size: int | None = option(
        None,
        "Number of images that train alpha, instead of alpha_fraction (published: 50000).",
        at_least=1,
    )
    train_images: int | None = option(
        None,
        "Use so many of the training images, class-balanced; default: all of them.",
        at_least=1,
    )
    test_fraction: float = option(
        0.2,
        "Part held out for testing where the dataset has no test split of its own, at least one of "
        "each class.",
        above=0,
        below=1,
    )
    augmentation: str = option(
        "auto", "Training augmentation.", choices=("auto", "none", "shift", "flip", "imagenet")
    )
    split_seed: int = option(0, "Seed of the three-way split; part of a run's identity.")
    min_crop_scale: float | None = option(
        None,
        f"Smallest area of a random crop; default: {CROP_SCALE}, with auto {AUTO_CROP_SCALE} "
        f"(published: {CROP_SCALE}).",
        above=0,
        at_most=1,
        only=(Where("augmentation", ("auto", "imagenet")),),
    )
    distort_color: str = option(
        "normal",
        "Colour distortion of imagenet augmentation (published: strong for final training).",
        choices=("none", "normal", "strong"),
        only=(Where("augmentation", ("auto", "imagenet")),),
    )
    offline_files: str = option(
        "",
        "Folder with the dataset's archives, already downloaded; the network is then not used.",
        fixed=False,
    )
    skip_unreadable: bool = option(
        False,
        "Leave out all images that cannot be read; else they are refused where they are more than "
        f"{UNREADABLE_PERCENT} % of the images, and left out where they are fewer. Each is named.",
    )
    in_memory_mb: int = option(
        1024,
        "Datasets that need more MB at the network's resolution are read from disk each epoch.",
    )


@dataclass(frozen=True)
class SpaceConfig(Options):
    """The search space."""

    space: str = option(
        "auto",
        "proxyless, lite, tiny, cifar, mnv4, mcu, pyramid_tree, FILE.json (a space of your own), "
        "or auto: by the size and number of the images; with --pretrained lite, or a run's own.",
        is_file=True,
    )
    resolution: int | None = option(
        None,
        "Input size in pixels; default: the space's own, with --space=auto 64 of fewer than 5,000 "
        "photographs; with --pretrained 96 of these, 64 of images up to 48 px.",
        at_least=8,
        at_most=4096,
    )
    width: float = option(1.0, "Width multiplier.", above=0)


@dataclass(frozen=True)
class PretrainedConfig(Options):
    """What is known before anything is trained."""

    pretrained: str = option(
        "",
        "Weights to start from: imagenet, efficientnet_lite0 (the same), efficientnet_lite1 or _2, "
        "a run folder, a .keras or .h5 file of one, or an original checkpoint (.pth); empty: none.",
        is_file=True,
    )


@dataclass(frozen=True)
class ArchitectureConfig(Options):
    """A network that is trained without a search."""

    architecture: str = option(
        "",
        "Network to train in the place of a searched one: proxyless_mobile, proxyless_cpu, "
        "proxyless_gpu, proxyless_mobile_14, efficientnet_lite0, _1 or _2, mobilenet_v2, "
        "mobilenet_v4_conv_small or _medium, or FILE.json; its class count is replaced.",
        remakes=True,
    )
    train_resolution: int | None = option(
        None,
        "Its input size in pixels; default: its own (224 and more).",
        at_least=8,
        at_most=4096,
        remakes=True,
    )


@dataclass(frozen=True)
class OptimizerConfig(Options):
    """How weights are trained, in the search and in the last training alike."""

    momentum: float = option(0.9, "SGD momentum.", below=1)
    nesterov: bool = option(True, "Nesterov momentum.")
    weight_decay: float = option(4e-5, "L2 on weights; see no_decay.")
    no_decay: str = option(
        "bn_bias",
        "Not decayed: batch normalisation and biases; batch normalisation alone (published); or "
        "none.",
        choices=("bn_bias", "bn", "none"),
    )
    label_smoothing: float = option(0.1, "Label smoothing of the training loss.", below=1)
    bn_momentum: float = option(0.9, "Batch-normalisation momentum (PyTorch's 0.1).", below=1)
    bn_epsilon: float = option(1e-3, "Batch-normalisation epsilon.")


@dataclass(frozen=True)
class TrainConfig(Options):
    """Training of one plain network (the derived one)."""

    epochs: int | None = option(
        None,
        f"Epochs of training; default: {EPOCHS}, of fine-tuning {FINE_TUNING.epochs}, from the "
        f"supernet {FROM_SUPERNET.epochs}, more of few images (published: 300).",
        at_least=1,
    )
    batch_size: int | None = option(
        None,
        f"Images a step; default: {BATCH_SIZE}, fewer of few images (published: 256).",
        at_least=1,
    )
    learning_rate: float | None = option(
        None,
        "Initial learning rate, cosine to zero; default: "
        f"{FROM_SCRATCH.learning_rate}, of fine-tuning {FINE_TUNING.learning_rate}, from the "
        f"supernet {FROM_SUPERNET.learning_rate}, {_BY_BATCH}, from scratch of up to 256 in "
        "proportion more (published: 0.05).",
        above=0,
    )
    learning_rate_warmup_epochs: float = option(
        1.0, "Epochs of linear warm-up of the learning rate (published: 0)."
    )
    dropout: float = option(
        0.0,
        "Dropout before the classifier (published: 0.1 for Mobile, 0.2 for CPU, 0.3 for GPU and "
        "Mobile-14).",
        below=1,
    )
    train_distort_color: str | None = option(
        None,
        "Colour distortion in this training; default: distort_color (published: strong).",
        choices=("none", "normal", "strong"),
    )
    init: str | None = option(
        None,
        "Initial weights: scratch; inherit from the supernet; pretrained: those of --pretrained. "
        "Default: scratch; with --pretrained inherit where one was searched, else pretrained.",
        choices=("scratch", "inherit", "pretrained"),
    )
    head_epochs: int | None = option(
        None,
        "First epochs, of all, in which the classifier alone is trained (Kumar et al. 2022, "
        f"section 4); default: 0, of fine-tuning {FINE_TUNING.head_epochs}, from the supernet "
        f"{FROM_SUPERNET.head_epochs} (published: 0).",
    )
    layer_rate_decay: float = option(
        1.0,
        "Each block learns at so many times the rate of the one behind it (Howard and Ruder 2018, "
        "section 3.2); 1 is one rate.",
        above=0,
        at_most=1,
    )
    train_batch_norm: str | None = option(
        None,
        "Batch-normalisation statistics: moving (by batches, as usual), reestimated (before each "
        "evaluation, on the training images), or frozen (those it starts with). Default: "
        f"{FROM_SCRATCH.train_batch_norm}, of fine-tuning {FINE_TUNING.train_batch_norm}.",
        choices=("moving", "reestimated", "frozen"),
    )
    train_optimizer: str = option(
        "sgd",
        "sgd with momentum, or adamw (Loshchilov and Hutter 2019, algorithm 2); a rate that is "
        f"given by neither you nor --preset is then {ADAMW_RATE} of SGD's.",
        choices=("sgd", "adamw"),
    )
    adamw_weight_decay: float = option(
        0.05,
        "AdamW's decoupled weight decay, in the place of weight_decay.",
        only=(Where("train_optimizer", ("adamw",)),),
    )
    ema_decay: float = option(
        0.0,
        "Evaluate and keep a moving average of the weights, which keeps this part of itself at "
        "each step, less in the first ones (Szegedy et al. 2016, section 8); 0: the last weights.",
        below=1,
    )
    randaugment_layers: int = option(
        0,
        "RandAugment: random transformations of each training image, each one of 14 (Cubuk et al. "
        "2020, section 3); 0: none.",
        at_most=16,
    )
    randaugment_magnitude: float = option(
        5.0,
        "Their strength (Cubuk et al. 2020, section 3).",
        at_most=10,
        only=(Where("randaugment_layers"),),
    )
    mixup: float = option(
        0.0,
        "Mixup: each training image is a mean of two, weighted by Beta(mixup, mixup) (Zhang et al. "
        "2018, section 2); 0: none.",
    )
    cutmix: float = option(
        0.0,
        "CutMix: a rectangle of each training image is another's, its area by Beta(cutmix, cutmix) "
        "(Yun et al. 2019, section 3.1); 0: none. With mixup: for each batch one of both.",
    )
    stochastic_depth: float = option(
        0.0,
        "Part of the training images that skip the last block with a shortcut; blocks before it "
        "are skipped linearly less often (Huang et al. 2016, section 3); 0: none.",
        below=1,
    )
    teacher: str = option(
        "",
        "Network whose answers are learnt beside the labels (Hinton et al. 2015, section 2): a run "
        "folder, a .keras or .h5 file of one, or a .tflite with metadata; of the same classes.",
        is_file=True,
    )
    distillation_weight: float = option(
        0.5,
        "Weight of the teacher's answers in the loss; labels have the rest.",
        at_most=1,
        only=(Where("teacher"),),
    )
    distillation_temperature: float = option(
        2.0,
        "What logits of both are divided by for that (Hinton et al. 2015, section 2).",
        above=0,
        only=(Where("teacher"),),
    )
    train_on_alpha: bool = option(
        True,
        "Train the derived network on both splits of the search; else its validation split is held "
        "out.",
    )
    evaluate_epochs: int = option(
        10,
        "Epochs between evaluations on held-out images; one more follows the last epoch.",
        fixed=False,
    )


@dataclass(frozen=True)
class DistributionConfig(Options):
    """On what search and training run (docs/scale.md)."""

    strategy: str = option(
        "none",
        "One device; mirrored: all GPUs of this machine; multi_worker: those of all machines in "
        "TF_CONFIG.",
        choices=("none", "mirrored", "multi_worker"),
        fixed=False,
    )
    replicas: int | None = option(
        None,
        "Devices of --strategy=mirrored; default: every GPU. Without GPUs: parts of the CPU.",
        fixed=False,
        at_least=1,
    )
    sync_batch_norm: bool = option(
        False, "Batch normalisation by the global batch; else each replica's own share."
    )
    mixed_precision: str = option(
        "none",
        "Activations and convolutions in float16 (with loss scaling) or bfloat16; variables, "
        "statistics, "
        "logits and loss stay float32.",
        choices=("none", "float16", "bfloat16"),
    )
    jit_compile: bool = option(False, "Compile blocks and training steps with XLA.", fixed=False)
    worker_timeout_s: int = option(
        300,
        "Seconds without a sign of life after which a worker is lost.",
        fixed=False,
        at_least=1,
        only=(Where("strategy", ("multi_worker",)),),
    )


_ONE_SHOT = (Where("algorithm", ("one_shot",)),)
_BY_GRADIENT = (Where("algorithm", ("two_path", "full", "full_recompute")),)
_REINFORCE = (Where("algorithm", ("reinforce",)),)
_RL_STEPS = (Where("rl_steps_per_epoch"),)
_ALPHA = (Where("algorithm", (*_BY_GRADIENT[0].values, *_REINFORCE[0].values)),)


@dataclass(frozen=True)
class SearchConfig(Options):
    """Learning the architecture. Published values stand under --preset=published."""

    target_latency_ms: str = option(
        "auto", "Target in ms, or auto: the middle of what the space can do on this device."
    )
    algorithm: str = option(
        "two_path",
        "How alpha is trained; one_shot trains none: weights by uniform paths through both phases, "
        "then an effect model ranks networks for any budget (docs/howto/one_supernet.md).",
        choices=("two_path", "full", "full_recompute", "reinforce", "one_shot"),
    )
    sampling: str = option(
        "uniform",
        "Paths of weight steps: each candidate drawn with equal probability, or fair: "
        "each once in every round of as many steps as its block has candidates.",
        choices=("uniform", "fair"),
        only=_ONE_SHOT,
    )
    warmup_epochs: int | None = option(
        None,
        "Warm-up phase: epochs in which only weights are trained; default: "
        f"{SEARCH_FROM_SCRATCH.warmup_epochs}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.warmup_epochs}, more of few images (published: 40).",
    )
    search_epochs: int | None = option(
        None,
        "Joint phase: epochs in which weights and alpha are trained in turn; default: "
        f"{SEARCH_FROM_SCRATCH.search_epochs}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.search_epochs}, more of few images (published: 120).",
        at_least=1,
    )
    search_batch_size: int | None = option(
        None,
        f"Images a step, for weights and for alpha; default: {BATCH_SIZE}, fewer of few images "
        "(published: 256).",
        at_least=1,
    )
    warmup_learning_rate: float | None = option(
        None,
        "Weights' initial rate in the warm-up phase, cosine to zero; default: "
        f"{SEARCH_FROM_SCRATCH.warmup_learning_rate}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.warmup_learning_rate}, {_BY_BATCH} (published: 0.05).",
    )
    search_learning_rate: float | None = option(
        None,
        "Weights' initial rate in the joint phase, cosine to zero; default: "
        f"{SEARCH_FROM_SCRATCH.search_learning_rate}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.search_learning_rate}, {_BY_BATCH} (published: 0.025).",
        only=_ALPHA,
    )
    weights_init: str | None = option(
        None,
        "Initial weights: aligned (default): a block's MBConvs start as one function; he_fout "
        "(published); he_fin; pretrained (default where --pretrained is given): every candidate "
        "starts from these.",
        choices=("aligned", "he_fout", "he_fin", "pretrained"),
    )
    shortcut_gamma: float = option(
        0.3,
        "aligned: initial gamma of blocks with a shortcut; at 0 they start as the identity. "
        "pretrained: the same for blocks that the weights do not know.",
        unless=(Where("weights_init", ("he_fout", "he_fin")),),
    )
    init_div_groups: bool = option(
        True, "Fan of a depthwise kernel is that of one channel, not of all (published: all)."
    )
    arch_interval: int | None = option(
        None,
        "Weight steps between architecture steps; default: "
        f"{SEARCH_FROM_SCRATCH.arch_interval}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.arch_interval} (published: 5).",
        at_least=1,
        only=_ALPHA,
        unless=_RL_STEPS,
    )
    arch_steps: int = option(
        1, "Architecture steps each time.", at_least=1, only=_ALPHA, unless=_RL_STEPS
    )
    arch_start_epoch: int | None = option(
        None,
        "Joint epochs before the first architecture step; default: "
        f"{SEARCH_FROM_SCRATCH.arch_start_epoch}, of pretrained weights "
        f"{SEARCH_FROM_PRETRAINED.arch_start_epoch}.",
        only=_ALPHA,
    )
    arch_batch_size: int | None = option(
        None,
        "Images an architecture step; default: search_batch_size, fewer where the "
        "validation split has fewer.",
        at_least=1,
        only=_BY_GRADIENT,
    )
    arch_learning_rate: float | None = option(
        None,
        f"Adam's rate on alpha; default: {SEARCH_FROM_SCRATCH.arch_learning_rate}, of pretrained "
        f"weights {SEARCH_FROM_PRETRAINED.arch_learning_rate} (published: 1e-3, for a search of "
        "120 epochs of ImageNet).",
        only=_ALPHA,
    )
    arch_beta_1: float = option(
        0.0, "Adam's beta_1 on alpha; above 0 old gradients move it too.", below=1, only=_ALPHA
    )
    arch_beta_2: float = option(0.999, "Adam's beta_2 on alpha.", below=1, only=_ALPHA)
    arch_epsilon: float = option(1e-8, "Adam's epsilon on alpha.", only=_ALPHA)
    arch_weight_decay: float = option(0.0, "Weight decay on alpha.", only=_ALPHA)
    alpha_init: str | None = option(
        None,
        "Initial alpha: normal or uniform random numbers, or by reconstruction: what a candidate "
        "loses of the pretrained block's output speaks against it. Default: normal, of pretrained "
        "weights reconstruction.",
        choices=("normal", "uniform", "reconstruction"),
        only=_ALPHA,
    )
    alpha_reconstruction: float = option(
        10.0,
        "Nats for what a block's output varies by, where alpha starts by what is lost of it.",
        only=_ALPHA,
        unless=(Where("alpha_init", ("normal", "uniform")),),
    )
    alpha_scale: float = option(1e-3, "Scale of the initial alpha.", only=_ALPHA)
    objective: str = option(
        "latency", "What is held down besides the loss.", choices=("latency", "macs", "parameters")
    )
    regulariser: str = option(
        "absolute",
        "How it enters the objective (published: multiplicative_log).",
        choices=("multiplicative_log", "additive_linear", "hinge", "absolute", "none"),
        only=_BY_GRADIENT,
    )
    regulariser_alpha: float = option(
        0.2, "Its factor.", only=(Where("regulariser", ("multiplicative_log",)),)
    )
    regulariser_beta: float = option(
        0.3, "Its exponent.", only=(Where("regulariser", ("multiplicative_log",)),)
    )
    regulariser_lambda: float = option(
        0.1,
        "Weight of latency in the loss, and in the reward.",
        only=(
            Where("regulariser", ("additive_linear", "hinge", "absolute")),
            Where("rl_reward", ("absolute",)),
        ),
    )
    target_value: float | None = option(
        None, "Target, in that unit.", only=(Where("objective", ("macs", "parameters")),)
    )
    also: tuple[str, ...] = option(
        (),
        "More devices: TABLE.json=MS, comma-separated; the search minds them all, and no derived "
        "network takes longer on one.",
        is_file=True,
    )
    combination: str = option(
        "sum",
        "Several devices: every one in full, or the worst at a time.",
        choices=("sum", "worst"),
        only=(Where("also"),),
        unless=(*_ONE_SHOT, Where("regulariser", ("none",))),
    )
    rl_networks: int = option(10, "Networks sampled a step.", at_least=1, only=_REINFORCE)
    rl_images: int | None = option(
        None,
        "Images that sampled networks are judged by; default: search_batch_size, fewer "
        "where the validation split has fewer (published: 1000).",
        at_least=1,
        only=_REINFORCE,
    )
    rl_steps_per_epoch: int | None = option(
        None,
        "Architecture steps spread over an epoch, in place of arch_interval and "
        "arch_steps (published: 300).",
        at_least=1,
        only=_REINFORCE,
    )
    rl_reward: str = option(
        "absolute",
        "Reward of a sampled network: accuracy - regulariser_lambda * |latency / target - 1|, or "
        "power (published): accuracy * (target / latency)^rl_exponent.",
        choices=("absolute", "power"),
        only=_REINFORCE,
    )
    rl_exponent: float = option(
        0.1, "w in accuracy * (target / latency)^w.", only=(Where("rl_reward", ("power",)),)
    )
    rl_baseline_decay: float = option(
        0.99, "Weight of the old baseline in its moving average.", below=1, only=_REINFORCE
    )
    rl_latency: str = option(
        "table",
        "Latency of a sampled network from the table or measured on the device.",
        choices=("table", "device"),
        only=_REINFORCE,
    )
    engine: str = option(
        "auto",
        "What computes the supernet's blocks: compiled (fast); tape (public TensorFlow alone, "
        "slower); auto: compiled where a self-check finds it right, else tape.",
        choices=("auto", "tape", "compiled"),
        fixed=False,
    )
    validate_epochs: int = option(
        0,
        "Epochs between validations of the most probable network on the validation split; 0: never "
        "(published: 1).",
        fixed=False,
        only=_ALPHA,
    )
    checkpoint_steps: int = option(
        200,
        "Weight steps between checkpoints; one more is written after each epoch.",
        fixed=False,
        at_least=1,
    )
    keep_checkpoints: int = option(3, "Checkpoints kept.", fixed=False, at_least=1)


_BUDGET = (Where("derive", ("budget",)),)
_TRAINED = (Where("derive_trained", above=1),)


@dataclass(frozen=True)
class DeriveConfig(Options):
    """Choosing the architecture when alpha is learnt."""

    derive: str = option(
        "budget",
        "budget: the most probable architecture that fits the latency; most_probable: each "
        "block's own.",
        choices=("budget", "most_probable"),
    )
    derive_networks: int = option(
        32,
        "So many of the most probable networks within the budget are compared with the "
        "supernet's weights on the search's validation split; 1 takes the most probable one.",
        at_least=1,
        only=_BUDGET,
    )
    derive_trained: int = option(
        2,
        "So many of the best of those are trained on for --derive_train_epochs, and the best of "
        "them is taken; 0 or 1: the supernet's weights decide.",
        only=(Where("derive_networks", above=1),),
    )
    derive_train_epochs: float | None = option(
        None,
        "Epochs of the search's train split that each of them is trained on; default: "
        f"{DERIVE_TRAIN_EPOCHS}, more of few images.",
        only=_TRAINED,
    )
    derive_batch_size: int | None = option(
        None,
        f"Images a step of that training; default: {BATCH_SIZE}, fewer of few images.",
        at_least=1,
        only=_TRAINED,
    )
    derive_learning_rate: float | None = option(
        None,
        f"Largest learning rate of that training, cosine to zero; default: {DERIVE_LEARNING_RATE}, "
        f"{_BY_BATCH}.",
        only=_TRAINED,
    )
    max_latency_ms: float | None = option(
        None, "Budget in ms; default: the target latency.", remakes=True
    )
    min_latency_fraction: float = option(
        0.95,
        "Least part of the budget that the architecture uses; 0 for none.",
        remakes=True,
        at_most=1,
        only=_BUDGET,
    )
    max_size_kb: float | None = option(
        None,
        "Hard limit of the exported file of --size_dtype in kB of 1000 bytes, labels and all.",
        remakes=True,
        above=0,
    )
    size_dtype: str = option(
        "int8",
        "The file that --max_size_kb is of.",
        choices=("int8", "float32"),
        remakes=True,
        only=(Where("max_size_kb"),),
    )
    max_ram_kb: float | None = option(
        None,
        "Hard limit of peak RAM in kB of 1000 bytes: the tensor arena of the int8 file "
        "(docs/howto/budgets.md).",
        remakes=True,
        above=0,
    )
    max_macs: float | None = option(
        None, "Hard limit of multiply-accumulates.", remakes=True, above=0
    )
    max_parameters: float | None = option(
        None, "Hard limit of trainable parameters.", remakes=True, above=0
    )


@dataclass(frozen=True)
class EffectsConfig(Options):
    """The effect model of a supernet (--algorithm=one_shot)."""

    effect_paths: int = option(400, "Random paths that it is fitted to.", at_least=20, remakes=True)
    effect_images: int = option(
        512, "Validation images that each of them answers, at most.", at_least=1, remakes=True
    )


@dataclass(frozen=True)
class SweepConfig(Options):
    """One more architecture for each of several budgets."""

    sweep: tuple[str, ...] = option(
        (),
        "Budgets in ms, comma-separated: one architecture each, with the supernet's weights.",
        remakes=True,
    )


@dataclass(frozen=True)
class SpecialiseConfig(Options):
    """Another device or budget from a finished search."""

    out: str = option("", "Folder that becomes a run folder of its own.", fixed=False)
    table: str = option("", "Latency table of another device; empty: the run's own.", fixed=False)
    budgets: str = option(
        "",
        "FILE.json with several, each with a name, a table and hard limits: one folder each below "
        "--out, and one front a device (docs/howto/one_supernet.md).",
        fixed=False,
    )


@dataclass(frozen=True)
class DeviceConfig(Options):
    """What models are measured on, and how long each."""

    device: str = option(
        "host",
        "host, android[:SERIAL] or ssh:USER@HOST[:PORT]; where a step measures several: with "
        "commas. tflm: memory and outputs in TensorFlow Lite for Microcontrollers (benchmark).",
    )
    threads: int = option(1, "Threads of the interpreter.", at_least=1, at_most=1024)
    delegate: str = option(
        "xnnpack",
        "Who executes the model; gpu, nnapi and npu on Android only, npu by LiteRT's own "
        "benchmark_model.",
        choices=("xnnpack", "none", "gpu", "nnapi", "npu"),
    )
    partial_delegation: bool = option(
        False,
        "Keep, each with a warning, times of models that the accelerator executes in part and the "
        "CPU in part; else they are refused.",
        remakes=True,
        only=(Where("delegate", ("gpu", "nnapi", "npu")),),
    )
    npu_libraries: str = option(
        "",
        "Folder on the device with LiteRT's libraries of its NPU (dispatch, compiler plugin, the "
        "vendor's).",
        fixed=False,
        only=(Where("delegate", ("npu",)),),
    )
    benchmark_binary: str = option(
        "",
        "benchmark_model for far devices: a file here, a path there, or auto: fetched for the "
        "device's instruction set. Default on Android: /data/local/tmp/benchmark_model where it "
        "is there, else auto.",
        fixed=False,
    )
    min_invocations: int = option(  # files of 300 models with more are too large to be read
        24, "Timed invocations a model, at least.", at_least=1, at_most=5000
    )
    warmup_invocations: int = option(5, "Untimed invocations before each run of a model.")


@dataclass(frozen=True)
class ConversionConfig(Options):
    """How blocks and networks become the files that are measured. None is fixed: the files are the
    same."""

    convert_workers: int = option(2, "Processes that convert block models.", fixed=False)
    model_cache: str = option(
        "",
        "Folder for converted models and unfinished sessions; default: the user's cache folder.",
        fixed=False,
    )


@dataclass(frozen=True)
class LatencyConfig(Options):
    """What a latency table holds."""

    latency_dtype: str = option(
        "float32", "Models that the table and the target speak of.", choices=("float32", "int8")
    )
    latency_rewrites: tuple[str, ...] = option(
        ("auto",),
        "Export rewrites of the measured models: auto, those that pay on the device, by "
        "measuring every block both ways; split_depthwise; none.",
        unless=(Where("original_table"),),
    )
    calibration_networks: int = option(
        10,
        "Random networks timed with the blocks; 0 leaves the table uncalibrated.",
        unless=(Where("original_table"),),
    )
    original_table: str = option(
        "",
        "A latency table of the original project or of Once-for-all (YAML) to read instead of "
        "measuring.",
        is_file=True,
    )
    original_device: str = option(
        "unknown",
        "What original_table was measured on; the file does not say.",
        only=(Where("original_table"),),
    )


@dataclass(frozen=True)
class CalibrateConfig(Options):
    """A latency table from a few measured networks instead of all blocks."""

    measurements: int = option(
        0,
        "Networks to measure, those that say most; 0 measures every block, and in pnas calibrate "
        "takes 5 with a prior, 10 without, 3 with an old table. More go on where fewer ended.",
        remakes=True,
        at_most=40,
    )
    max_error_percent: float | None = option(
        None,
        "Measure more networks, up to 40, until the expected error is at most this.",
        remakes=True,
        above=0,
    )
    blocks: int = option(
        0,
        "Then measure so many blocks alone: those whose price is most uncertain and matters most.",
        remakes=True,
        only=(
            Where("measurements"),
            Where("max_error_percent"),
            Where("prior"),
            Where("old_table"),
        ),
    )
    prior: tuple[str, ...] = option(
        (),
        "What other devices teach: files of pnas learn-prior, one for each number format.",
        remakes=True,
    )
    old_table: str = option(
        "",
        "A table of this device under another runtime version, or of another unit: it is scaled "
        "to the measured networks instead.",
        remakes=True,
    )
    other_runtime: bool = option(
        False,
        "Use a prior of another runtime or accelerator, with a warning; else it is refused.",
        remakes=True,
        only=(Where("prior"),),
    )


@dataclass(frozen=True)
class ValidateConfig(Options):
    """Predicted against measured latency."""

    networks: int = option(
        40,
        "Random held-out networks.",
        fixed=False,
        at_least=2,
        remakes=True,
        unless=(Where("architectures"),),
    )
    architectures: tuple[str, ...] = option(
        (), "Files of architectures to validate on instead, comma-separated.", remakes=True
    )
    max_mape: float | None = option(
        None,
        "Bound in percent; exit status 1 when the mean absolute error is above it.",
        fixed=False,
    )


@dataclass(frozen=True)
class BenchmarkConfig(Options):
    """What pnas benchmark measures."""

    models: tuple[str, ...] = option(
        (),
        ".tflite files, comma-separated, in this call; default: the exported models of the run "
        "folder.",
        remakes=True,
    )
    op_profile: bool = option(
        False,
        "Also the time of every op, on devices behind benchmark_model; the host's runtime has no "
        "such clock.",
        remakes=True,
    )
    sustained: str = option(
        "",
        "Also latency over time without a pause, for so long a model (10m, 90s): minute 1 is not "
        "minute 30.",
        remakes=True,
    )


_FINETUNED = (Where("quantize", ("qat",)), Where("prune"), Where("cluster"))


@dataclass(frozen=True)
class ExportConfig(Options):
    """The .tflite files. None is fixed: a run's network may be exported in several ways, the last
    one stays."""

    formats: tuple[str, ...] = option(
        ("float32", "int8"), "Files to make: float32, float16, dynamic_int8, int8.", remakes=True
    )
    rewrites: tuple[str, ...] = option(
        ("auto",),
        "split_depthwise (or with a shape); none; auto: those that the latency table was "
        "measured with, else all.",
        remakes=True,
    )
    representative_images: int = option(
        200,
        "Images of the train split that calibrate full-integer int8.",
        fixed=False,
        at_least=1,
        remakes=True,
    )
    float_input: str = option(
        "normalised",
        "Input of the other files: (pixel - mean) / std, or pixels, 0 to 255 in float32, which the "
        "file's own first two ops normalise.",
        choices=("normalised", "pixels"),
        remakes=True,
    )
    int8_input: str = option(
        "uint8",
        "Input of the int8 file; uint8 takes an image's own bytes.",
        choices=("int8", "uint8", "float32"),
        remakes=True,
    )
    int8_output: str = option(
        "float32",
        "Output of the int8 file; int8 and uint8 have too few values for probabilities, so that "
        "the file ends in logits.",
        choices=("int8", "uint8", "float32"),
        remakes=True,
    )
    export_batch: int = option(
        1, "Images a call of the exported files.", fixed=False, at_least=1, remakes=True
    )
    export_resolution: int | None = option(
        None,
        "Input size of the exported files; default: the one the network was trained at.",
        fixed=False,
        at_least=8,
        at_most=4096,
        remakes=True,
    )
    probabilities: bool = option(
        True,
        "A softmax behind the logits, so that clients show scores that sum to 1; "
        "--noprobabilities: "
        "logits.",
        remakes=True,
    )
    quantize: str = option(
        "ptq",
        "int8 by post-training quantisation or by quantisation-aware training.",
        choices=("ptq", "qat"),
        remakes=True,
    )
    prune: float = option(
        0.0,
        "Final fraction of zero weights; polynomial schedule, trained further.",
        fixed=False,
        below=1,
        remakes=True,
    )
    cluster: int = option(
        0,
        "Distinct weights a layer, trained further; 0 for no clustering.",
        at_most=256,
        remakes=True,
    )
    finetune_epochs: int | None = option(
        None,
        "Epochs of each of pruning, clustering and quantisation-aware training; default: "
        f"{FINETUNE_EPOCHS}, more of few images.",
        at_least=1,
        remakes=True,
        only=_FINETUNED,
    )
    finetune_learning_rate: float | None = option(
        None,
        f"Their initial learning rate, cosine to zero; default: {FINETUNE_LEARNING_RATE}, "
        f"{_BY_BATCH}.",
        remakes=True,
        only=_FINETUNED,
    )
    max_logit_difference: float = option(
        1e-4,
        "A float32 export whose logits differ by more is refused; in units of the largest logit "
        "where that is above 1.",
        remakes=True,
    )
    min_agreement: float = option(
        0.6,
        "An export that gives Keras' answer for a smaller fraction of the validation split, or on "
        "average of the images of each class, is refused.",
        at_most=1,
        remakes=True,
    )
    max_accuracy_drop: float = option(
        0.02,
        "An export that loses more accuracy (a fraction) than this on the validation split is "
        "refused; the test split is only reported.",
        remakes=True,
    )
    debug_layers: bool = option(
        False, "Print how far int8 departs from float layer by layer, in this call.", fixed=False
    )
    author: str = option("", "Author, in the files' metadata.", remakes=True)
    licence: str = option("", "Licence of the models, in the files' metadata.", remakes=True)


@dataclass(frozen=True)
class PublishConfig(Options):
    """Models that are handed out with their manifest."""

    model_name: str = option(
        "model", "Name of the published files: NAME_float32.tflite and so on.", fixed=False
    )
    models_dir: str = option(
        "tflite_models", "Folder of published models and their manifest.", fixed=False
    )


# Defaults taken together by --preset: {preset: {config class: {field: value}}}.
PRESETS: dict[str, dict[type, dict[str, object]]] = {
    "published": {
        SearchConfig: {
            "warmup_epochs": 40,
            "search_epochs": 120,
            "search_batch_size": 256,
            "arch_interval": 5,
            "arch_start_epoch": 1,
            "arch_learning_rate": 1e-3,
            "warmup_learning_rate": 0.05,
            "search_learning_rate": 0.025,
            "weights_init": "he_fout",
            "alpha_init": "normal",
            "init_div_groups": False,
            "algorithm": "full_recompute",
            "regulariser": "multiplicative_log",
            "rl_reward": "power",
            "rl_images": 1000,
            "rl_steps_per_epoch": 300,
            "validate_epochs": 1,
        },
        DataConfig: {
            "alpha_size": 50_000,
            "min_crop_scale": CROP_SCALE,
        },  # ImageNet's; other datasets take --alpha_size of their own
        DeriveConfig: {"derive": "most_probable", "derive_networks": 1, "derive_trained": 0},
        OptimizerConfig: {"no_decay": "bn"},
        TrainConfig: {
            "epochs": 300,
            "batch_size": 256,
            "learning_rate": 0.05,
            "learning_rate_warmup_epochs": 0.0,
            "dropout": 0.1,
            "train_distort_color": "strong",
            "init": "inherit",
            "head_epochs": 0,
            "evaluate_epochs": 1,
        },
    },
    "quick": {},
}
