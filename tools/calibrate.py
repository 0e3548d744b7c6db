"""`pnas calibrate` as a file: estimates a latency table from a few measured networks.

python tools/calibrate.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
