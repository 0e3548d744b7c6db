"""The over-parameterised network.

Mixed ops, their binary gates' forward and backward passes, initializers.
"""
