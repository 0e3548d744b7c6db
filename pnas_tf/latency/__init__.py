"""From measured blocks to the latency of a whole network: tables, how they are built, calibration
and validation."""
