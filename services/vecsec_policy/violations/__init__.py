"""Violations as they happen, and their index over the audit log."""
