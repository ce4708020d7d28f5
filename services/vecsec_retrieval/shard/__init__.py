"""Which tenants are this service's, where several have a store each: by their cells, then by the placement."""
