"""Checkpoint files, which are untrusted, and networks that they have to fill.

``unpickle.py`` and ``read.py`` turn a file into tensors and execute nothing,
``family.py`` says what a family of networks brings, ``load.py`` fills one.
"""
