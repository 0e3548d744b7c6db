"""Is a search from ImageNet's weights worth it? `python -m benchmarks.pretrained`."""
