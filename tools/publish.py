"""`pnas publish` as a file: copies a finished run's models, with their manifest.

python tools/publish.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
