"""Plain Keras layers and models, made from the blocks of an architecture.

Knows spaces, and nothing of search.
"""
