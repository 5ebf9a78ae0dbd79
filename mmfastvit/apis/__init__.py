"""What the tools call, one file each, and what their command lines share."""
