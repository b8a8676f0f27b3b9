"""Random calls of every operator that is served, each in a process that may die of it."""
