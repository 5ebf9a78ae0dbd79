"""Detectors whose post-processing is part of the graph: a family of heads, a file."""
