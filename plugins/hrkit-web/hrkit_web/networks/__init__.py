"""The networks: which can be chosen, and the one thread that runs them on all pictures that wait."""
