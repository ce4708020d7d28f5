"""`vecsec policy`: checks, tests, compares, explains and rolls out a policy folder."""
