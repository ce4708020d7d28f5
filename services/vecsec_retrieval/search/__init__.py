"""Readers of a collection: one in memory, one over the store."""
