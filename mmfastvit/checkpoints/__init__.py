"""Checkpoint files, which are untrusted, and networks that they have to fill.

``unpickle.py`` and ``read.py`` turn a file into tensors and execute nothing,
``family.py`` says what a family of networks brings, ``load.py`` fills a backbone,
``whole_model.py`` a detector, ``work_dir.py`` finds a run's latest file.
"""
