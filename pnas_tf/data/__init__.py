"""Labelled images.

Where they come from, their three parts, and augmentation. Knows nothing of networks.
"""
