"""`pnas try` as a file: runs the exported models of a run in your browser.

python tools/try_model.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
