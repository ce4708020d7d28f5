"""The only place that knows ChromaDB."""
