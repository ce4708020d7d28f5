"""`vecsec shards`: which shards there are, and what each of them says of itself."""
