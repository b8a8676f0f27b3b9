"""Pullback beside its peers: the same numbers asked of all of them, in turns, in one run."""
