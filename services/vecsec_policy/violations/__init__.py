"""The index of violations over the audit log, by which they are counted and listed."""
