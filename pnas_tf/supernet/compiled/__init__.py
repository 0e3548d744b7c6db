"""The fast engine.

A block's passes as compiled pieces of one traced graph, shared by all candidates.
"""
