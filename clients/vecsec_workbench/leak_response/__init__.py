"""`vecsec panic`: stops real answers, withdraws grants, proves both and collects evidence."""
