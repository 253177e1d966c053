"""Weights: which there are, where they are, how they are fetched, checked and read.

`entry` describes one set of weights and `published` lists those of hrkit. `catalogue` finds the entry for a name,
`downloads` and `hub` bring its file into the cache, `reading` reads it without pickle, and `checkpoints` finds the
network in it and loads it strictly.
"""

from hrkit.weights.catalogue import WeightsEntry, entries, fetch, read_entries, resolve, select

__all__ = ["WeightsEntry", "entries", "fetch", "read_entries", "resolve", "select"]
