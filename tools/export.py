"""`pnas export` as a file: writes .tflite files, proven equal to the network.

python tools/export.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
