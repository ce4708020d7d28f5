"""Readers, one a format: what a file holds becomes blocks, which splitting packs into passages."""
