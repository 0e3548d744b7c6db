"""`pnas latency-table` as a file: measures the blocks of a space on a device.

python tools/build_latency_table.py --help
"""

from pnas_tf.cli.main import run_tool

if __name__ == "__main__":
    run_tool(__file__)
