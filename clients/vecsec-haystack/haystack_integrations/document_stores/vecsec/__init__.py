"""VecSec for Haystack: each user is answered with what that user may read.

store = VecSecDocumentStore("localhost:50051", token=None, tenant="tenant_a")
retriever = VecSecTextRetriever(document_store=store, top_k=3)
retriever.run("how do we rank?", token=Secret.from_token(token_of_the_user))
"""

from haystack_integrations.document_stores.vecsec.document_store import VecSecDocumentStore
from vecsec_client.frameworks.labels import LabelKeys
from vecsec_client.frameworks.values import MADE_UP_KEY

__all__ = ["MADE_UP_KEY", "LabelKeys", "VecSecDocumentStore"]
