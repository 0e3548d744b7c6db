"""CIFAR-10 at the latency of MLPerf Tiny's network."""
