"""`vecsec tenant`: a tenant's documents out of the system, back into it, and out of a damaged cell."""
