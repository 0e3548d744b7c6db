"""A model card: what exported files are, how good, how fast and on what, for people and for hubs.

Markdown with the YAML front matter that Hugging Face reads (pipeline tag, licence, model index).
Made of the entries of the manifest alone, so that a card can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import yaml

from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.io import Json
from pnas_tf.report.words import device_words, one_line
from pnas_tf.search.judgement import DRAW, SEARCHED

# Input of the int8 file -> what it takes.
_INT8_INPUTS = {
    "uint8": "the pixels themselves (uint8)",
    "int8": "normalised pixels in the scale of its input (int8)",
    "float32": "normalised pixels (float32)",
}
Entry = Mapping[str, Json]  # what the manifest says of one file

_TEXT = """
# {name}

An image classifier of {classes} classes, {found}trained
on `{dataset}`. Its architecture {origin} and has {macs:,} MACs and
{parameters:,} parameters.{pretrained}

{table}

Accuracies are of {images} test images, which decided nothing, with their 95 % interval (Wilson).
Latencies are medians of {inference} on {device}. Another device or runtime has others.

## Input and output

{pictures}, {size} x {size} pixels, RGB. An int8 file takes {int8_input}, a
float32 file takes {float_input}. The metadata inside
each file hold the labels, the normalisation, the architecture, and what to do to a picture before;
`pnas inspect FILE.tflite` shows them.

## Use

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("{first}")
interpreter.allocate_tensors()
taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
image = np.zeros(taken["shape"], taken["dtype"])  # your picture
interpreter.set_tensor(taken["index"], image)
interpreter.invoke()
print(interpreter.get_tensor(given["index"])[0].argmax())
```

## Limits

It names one of its classes for any picture, also for one of none of them. How good it is on other
pictures than those of its dataset (other cameras, other light, other places) has not been measured.

## How it was made

```
{command}
```
"""


def model_card(name: str, entries: Mapping[str, Entry]) -> str:
    """The card of the files of one network.

    Args:
        name: of the model.
        entries: file name -> its entry of the manifest; at least one.
    """
    file, entry = next(iter(entries.items()))
    architecture = cast(Mapping[str, Json], entry["architecture"])
    space = cast(Mapping[str, Json], architecture["space"])
    searched = _origin(entry) == SEARCHED
    int8 = next((each for each in entries.values() if each["dtype"] == "int8"), entry)
    batch = cast(int, entry.get("batch", 1))
    text = _TEXT.format(
        name=name,
        classes=space["classes"],
        dataset=one_line(str(entry["dataset"])),
        found="found by ProxylessNAS (Cai, Zhu and Han 2019) and " * searched,
        pretrained=_pretrained_words(entry),
        origin=_origin_words(_origin(entry), one_line(str(space["name"]))),
        macs=architecture["macs"],
        parameters=architecture["parameters"],
        table=_table(entries),
        images=_figures(entry, "parity")["images"],
        device=next(filter(None, map(_device, entries.values())), "a device not named here"),
        pictures="One picture" if batch == 1 else f"{batch} pictures at once",
        inference="one inference" + f" of {batch} pictures" * (batch > 1),
        size=space["resolution"],
        int8_input=_INT8_INPUTS[str(int8.get("input_dtype", "uint8"))],
        float_input=_float_input(entries.values()),
        first=file,
        command=entry["command"],
    )
    return f"---\n{_front_matter(name, entries)}---\n{text}"


def _float_input(entries: Iterable[Entry]) -> str:
    """What a float32 file takes; manifests of earlier versions do not say."""
    known = [
        cast(Mapping[str, Json], entry["normalization"])
        for entry in entries
        if entry["dtype"] != "int8" and "normalization" in entry
    ]
    if not known:
        return "(pixel - 127.5) / 127.5 unless its metadata say otherwise"
    if (known[0]["mean"], known[0]["std"]) == ([0.0], [1.0]):
        return "pixels from 0 to 255"
    return f"(pixel - {known[0]['mean']}) / {known[0]['std']}"


def _origin(entry: Entry) -> str:
    """Where the architecture is from; manifests of earlier versions do not say."""
    return one_line(str(entry.get("architecture_origin", SEARCHED)))


def _origin_words(origin: str, space: str) -> str:
    """What the architecture is, as the rest of a sentence."""
    if origin == SEARCHED:
        return f"was searched in the space `{space}`"
    if origin.startswith(DRAW):
        return f"is {origin} in the space `{space}`, not learnt,"
    return f"is that of `{origin}`"


def _pretrained_words(entry: Entry) -> str:
    """Whose weights its own go back to, as a sentence behind another; "" where they were random.
    Manifests of earlier versions do not say."""
    source = entry.get("pretrained")
    return f" Its weights go back to those of {one_line(str(source))}." if source else ""


def _front_matter(name: str, entries: Mapping[str, Entry]) -> str:
    entry = next(iter(entries.values()))
    dataset = str(entry["dataset"])
    results = []
    for file, each in entries.items():
        words = f"test accuracy, {file}"
        results.append({"name": words, "type": "accuracy", "value": each["test_accuracy"]})
        if each["latency_ms"] is not None:
            words, median = f"median latency in ms, {file}, {_device(each)}", _median(each)
            results.append({"name": words, "type": "latency", "value": median})
    document = {
        "license": str(entry.get("licence") or "unknown").lower(),
        "pipeline_tag": "image-classification",
        "tags": [
            *("tflite", "litert", "image-classification"),
            *["neural-architecture-search"] * (_origin(entry) == SEARCHED),
        ],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": dataset, "type": dataset, "split": "test"},
                        "metrics": results,
                    }
                ],
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _table(entries: Mapping[str, Entry]) -> str:
    rows = ["| file | format | size | test accuracy | latency, median | p90 |", "|" + "---|" * 6]
    for file, entry in entries.items():
        latency = _figures(entry, "latency_ms") if entry["latency_ms"] else None
        cells = (
            f"`{file}`",
            str(entry["dtype"]),
            f"{cast(int, entry['size_bytes']) / 1000:,.0f} kB",
            _accuracy(entry),
            _latency(latency) if latency else "not measured",
            f"{latency['p90']:.3g} ms" if latency else "",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _latency(latency: Mapping[str, Json]) -> str:
    partly = latency.get("partly")
    return f"{latency['median']:.3g} ms" + (f" ({one_line(str(partly))})" if partly else "")


def _accuracy(entry: Entry) -> str:
    accuracy = entry["test_accuracy"]
    if not isinstance(accuracy, float):
        return "not known"
    low, high = accuracy_interval(accuracy, int(_figures(entry, "parity")["images"]))
    return f"{100 * accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f} %)"


def _device(entry: Entry) -> str:
    latency = cast(Mapping[str, Json], entry["latency_ms"] or {})
    parts = {name: latency[name] for name in ("device", "settings") if name in latency}
    return device_words(parts) if parts else ""


def _median(entry: Entry) -> float:
    return _figures(entry, "latency_ms")["median"]


def _figures(entry: Entry, name: str) -> Mapping[str, float]:
    return cast(Mapping[str, float], entry[name])
