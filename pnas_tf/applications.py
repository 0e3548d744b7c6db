"""The published networks and searched ones as Keras applications:
`pnas_tf.applications.ProxylessMobile()`. See nn/applications.py."""

from pnas_tf.nn.applications import (
    OFFICIAL_MEAN,
    OFFICIAL_STD,
    ProxylessCPU,
    ProxylessGPU,
    ProxylessMobile,
    ProxylessMobile14,
    endpoints,
    from_architecture,
    preprocess_input,
)

__all__ = [
    "OFFICIAL_MEAN",
    "OFFICIAL_STD",
    "ProxylessCPU",
    "ProxylessGPU",
    "ProxylessMobile",
    "ProxylessMobile14",
    "endpoints",
    "from_architecture",
    "preprocess_input",
]
