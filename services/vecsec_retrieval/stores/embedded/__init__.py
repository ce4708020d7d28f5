"""The embedded store: each tenant's cell is a directory, written through ChromaDB and read from its log."""
