"""Files of the original project: net.config, checkpoints, latency tables in YAML."""
