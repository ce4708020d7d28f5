"""The values of retrieval and the contract of a store."""
