"""`pnas learn-prior` as a file: learns from tables of several devices what a new one is like.

python tools/learn_prior.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
