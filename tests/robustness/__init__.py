"""An adversary: damaged and hostile inputs, made by chance, and what comes of each.

``python -m robustness`` (with ``tests/`` on the path) runs all kinds of inputs and
prints the table; ``python -m robustness pictures --seed 3 --only 17`` runs one input
again and shows what it did. ``test_robustness.py`` holds the table to its goals.
"""
