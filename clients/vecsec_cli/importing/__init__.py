"""Importing: readers of several formats, checks before sending, and journals by which a cut-off import goes on."""
