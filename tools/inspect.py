"""`pnas inspect` as a file: shows what stands in a .tflite file.

python tools/inspect.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
