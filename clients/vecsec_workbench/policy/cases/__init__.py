"""`vecsec policy test`: cases read from YAML, run against a policy, told."""
