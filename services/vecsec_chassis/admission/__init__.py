"""How many calls are served at once, and who comes next where more want to be."""
