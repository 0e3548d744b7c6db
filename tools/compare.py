"""`pnas compare` as a file: puts finished runs beside one another.

python tools/compare.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
