"""Checkpoint files, which are untrusted, and networks that they have to fill.

``read.py`` turns a file into tensors and executes nothing: ``archive.py`` reads the
zip, ``unpickle.py`` the pickle, ``stand_ins.py`` says what it may build, ``limits.py``
how much. ``shards.py`` knows checkpoints in several files. ``fit.py`` compares tensors
with a network, ``family.py`` says what a family of networks brings, ``load.py`` fills a
backbone, ``whole_model.py`` a detector, ``save.py`` writes a file, ``work_dir.py``
finds a run's latest. ``hand_file.py`` and ``mano_pickle.py`` read MANO's numbers.
"""
