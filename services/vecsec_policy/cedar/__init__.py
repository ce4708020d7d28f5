"""Rules and what follows from them: the only door to Cedar."""
