"""`pnas validate` as a file: compares predicted with measured latency on random networks.

python tools/validate.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
