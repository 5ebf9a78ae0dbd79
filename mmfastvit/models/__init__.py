"""The networks: a family is a folder. ``layers`` and ``reparam`` serve them all."""
