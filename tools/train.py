"""`pnas train` as a file: trains the derived network.

python tools/train.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
