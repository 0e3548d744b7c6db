"""`pnas specialise` as a file: another device or budget from a search that is there.

python tools/specialise.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
