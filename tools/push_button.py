"""`pnas run` as a file: the whole way: dataset and latency in, a measured .tflite out.

python tools/push_button.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
