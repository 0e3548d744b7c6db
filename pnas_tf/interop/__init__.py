"""Files of the upstream project: net.config, checkpoints, latency tables in YAML."""
