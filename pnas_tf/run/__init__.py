"""How long jobs live.

The run folder, its lock and steps, signals, checkpoints, progress, the processes of a cluster.
"""
