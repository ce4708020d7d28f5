"""Whose tokens are accepted, and how they are read: without any service."""
