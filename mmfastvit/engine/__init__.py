"""MMEngine at work: configs, the runner, several processes, memory formats."""
