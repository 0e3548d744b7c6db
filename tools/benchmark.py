"""`pnas benchmark` as a file: measures .tflite files on a device.

python tools/benchmark.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
