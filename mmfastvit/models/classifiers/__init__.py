"""Classifiers of our own; they need MMPretrain, so configs import them by name."""
