"""The policy service: the only one that knows the rules. It sees labels, never content."""
