"""The retrieval service: the only one that knows the vector store. It acts on grants alone."""
