"""Ways to run a network. Each is imported when it is first asked for."""
