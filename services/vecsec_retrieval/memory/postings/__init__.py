"""Which words are in which rows, and the search by them: derived from the rows, and of the same moment as they are."""
