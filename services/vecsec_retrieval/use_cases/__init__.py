"""What retrieval does with a call, each under a grant."""
