"""What is told to the policy service: uses of grants that cross tenants, for its audit record."""
