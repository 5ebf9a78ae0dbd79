"""What knows nothing of networks: errors, files, progress, tables, timing."""
