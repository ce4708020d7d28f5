"""Open tenants and collections: what is loaded, what rests, and what has to leave."""
