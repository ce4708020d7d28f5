"""A candidate that decides beside the policy in force, without effect."""
