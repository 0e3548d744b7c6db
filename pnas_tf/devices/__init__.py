"""Measuring .tflite files.

The record, the rounds of a session, and one runner a kind of device. No TensorFlow.
"""
