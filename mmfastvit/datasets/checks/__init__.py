"""Data sets held against the config, before anything is trained or tested.

What would train wrong names or nothing at all, or end hours later in a message
that names no file, is refused with the line to write.
"""
