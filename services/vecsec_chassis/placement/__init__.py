"""Which shard of retrieval has which tenant: the placement, its file, and the file while it changes."""
