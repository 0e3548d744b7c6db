"""`pnas search` as a file: learns an architecture, and derives it.

python tools/search.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
