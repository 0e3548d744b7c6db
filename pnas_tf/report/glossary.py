"""The words of the report for a reader who has never searched a network. Anchor -> (term, what it
means)."""

from __future__ import annotations

TERMS: dict[str, tuple[str, str]] = {
    "accuracy": (
        "Test accuracy",
        "The share of test images that the network names rightly. Test images were set aside: "
        "nothing was learnt from them and nothing was chosen by them.",
    ),
    "interval": (
        "95 % interval",
        "Where the accuracy on very many such images would lie, 19 times in 20 (Wilson). Few "
        "test images make it wide. Two networks whose intervals overlap widely may be as good.",
    ),
    "latency": (
        "Latency",
        "The time that the network takes for one image on the device, without reading and scaling "
        "the image. The median of many runs is quoted; 10 % of the runs are below p10, 10 % above "
        "p90. Where a computer is the device and one thread runs, waiting for a core does not "
        "count.",
    ),
    "table": (
        "Latency table",
        "What each block takes alone on the device. The sum over the blocks of a network, adjusted "
        "by a few whole networks that were measured too (calibration), is its predicted latency. "
        "The held-out error is how far that was off for networks that took no part in it.",
    ),
    "drift": (
        "Drift and noise",
        "A device is faster at one time and slower at another. One model, the reference model, is "
        "measured beside all others and shows by how much. The noise floor is by how much two "
        "halves of a measurement differ: no comparison is better than that. Drift corrected is "
        "what would have been measured at the speed that the device had when the table was made: "
        "it judges the prediction. What users of the device get is the figure that was measured.",
    ),
    "target": (
        "Target and budget",
        "What was asked for. The search is pulled towards the target; a budget is a limit: no "
        "network is taken whose prediction is above it. Where no other is given, the target is the "
        "budget of latency.",
    ),
    "macs": (
        "MACs",
        "Multiply-accumulates: how many multiplications the network does for one image. A measure "
        "of work that is the same on every device; latency is not.",
    ),
    "parameters": (
        "Parameters",
        "The numbers that training adjusts. In a float32 file each takes four bytes, in an int8 "
        "file one.",
    ),
    "format": (
        "float32 and int8",
        "How the file holds its numbers: as 32-bit fractions, or as whole numbers of 8 bits. int8 "
        "files are smaller, mostly faster, and may answer a little differently.",
    ),
    "parity": (
        "Parity",
        "How closely an exported file gives the answers of the network that was trained. Logits "
        "are the network's scores before they are made probabilities; how far they differ says "
        "little, as long as the answers are the same.",
    ),
    "ram": (
        "Peak RAM",
        "The working memory that TensorFlow Lite for Microcontrollers needs for the file (its "
        "tensor arena). Runtimes of phones and computers take more.",
    ),
    "block": (
        "Block",
        "One stage of work in the network. An MBConv of kernel 5×5 and expansion 6 (5×5 e6) "
        "widens its input six times, looks at 5×5 neighbours in each channel, and narrows it "
        "again. "
        "Larger kernels see farther, larger expansions hold more; both take time.",
    ),
    "choice": (
        "Choice block and candidate op",
        "A place of the network that was left open, and what may stand there. Skip means that "
        "nothing does: the block is left out.",
    ),
    "supernet": (
        "Supernet",
        "One network that holds all candidates of all choice blocks. It is trained one path at a "
        "time: a path is one candidate of each block. If random paths answer no better than "
        "chance, its choices mean nothing. An architecture step is one in which probabilities "
        "change, and not weights.",
    ),
    "warmup": (
        "Warm-up",
        "The first epochs of the search, in which the candidates learn and nothing is chosen yet. "
        "An epoch is one pass over the training images.",
    ),
    "probability": (
        "Path probability",
        "How likely the search is to take a candidate. All start alike; those of a block add up to "
        "1. What ends near 1 was clearly preferred. Where none does, the search alone did not "
        "decide: the most probable networks were compared as wholes.",
    ),
    "entropy": (
        "Entropy",
        "How undecided the search is: high where all candidates are equally likely, 0 where each "
        "block has one left.",
    ),
    "expected": (
        "Expected latency",
        "The latency of the networks that the search would draw now, on the average. The search "
        "pushes it towards the target.",
    ),
    "loss": (
        "Loss",
        "What training makes small: the cross-entropy between the network's answers and the "
        "labels. 0 would be certain and always right; training with smoothed labels "
        "(--label_smoothing) cannot reach it.",
    ),
    "split": (
        "Train and validation split",
        "The training images in two parts: weights learn from the train split, candidates are "
        "compared by the validation split. Test images belong to neither.",
    ),
    "front": (
        "Accuracy-latency front",
        "The networks that no other one beats in both: more accurate ones are slower, faster ones "
        "less accurate.",
    ),
    "confusion": (
        "Confusion matrix",
        "How often images of one class (a row) were given each answer (a column). Right answers "
        "stand on the diagonal.",
    ),
    "seed": (
        "Seed and fingerprint",
        "The seed decides everything random. The fingerprint stands for the content of the images: "
        "the same images have the same one, wherever they lie.",
    ),
}
