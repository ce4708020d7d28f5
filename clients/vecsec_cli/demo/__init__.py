"""The demonstration: a real corpus to search, and guided searches that make the rules visible."""
