"""Certificates: read, watched, turned into credentials; and which peers may call."""
