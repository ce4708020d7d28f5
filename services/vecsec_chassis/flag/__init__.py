"""The shared flag `USE_REAL_VECTOR_RETRIEVAL`: read from its file, told by tenant."""
