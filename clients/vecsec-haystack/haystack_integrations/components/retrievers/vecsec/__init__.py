"""Retrievers of VecSec for Haystack: one for all users of a server, each answered with what that user may read."""

from haystack_integrations.components.retrievers.vecsec.embedding_retriever import VecSecEmbeddingRetriever
from haystack_integrations.components.retrievers.vecsec.text_retriever import VecSecTextRetriever

__all__ = ["VecSecEmbeddingRetriever", "VecSecTextRetriever"]
