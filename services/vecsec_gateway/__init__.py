"""The gateway: authenticates, plans, retrieves, checks and answers. It holds no data and no key."""
