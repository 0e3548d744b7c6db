"""Runs one .tflite file on given inputs and keeps its outputs. The part of arm_parity.py that an
emulated processor executes.

python benchmarks/run_model_once.py MODEL INPUTS.npy OUTPUTS.npy THREADS DELEGATE: inputs [count,
...] of the model's input shape and type, outputs [count, ...] of its first output. Needs numpy and
ai_edge_litert alone.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def main():
    model, inputs, outputs, threads, delegate = sys.argv[1:]
    resolver = (
        OpResolverType.AUTO
        if delegate == "xnnpack"
        else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter = Interpreter(
        model, num_threads=int(threads), experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    source, target = (
        interpreter.get_input_details()[0]["index"],
        interpreter.get_output_details()[0]["index"],
    )
    results = []
    for image in np.load(inputs):
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        results.append(interpreter.get_tensor(target))
    np.save(outputs, np.stack(results))


if __name__ == "__main__":
    main()
