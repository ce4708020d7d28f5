"""`vecsec audit`: searches, counts and verifies the policy service's log."""
