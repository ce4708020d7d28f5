"""VecSec for LlamaIndex: each user is answered with what that user may read.

store = VecSecVectorStore(client, sensitivity="INTERNAL", topics=["rag"])
index = VectorStoreIndex.from_vector_store(store.with_token(token_of_the_user), embed_model=MockEmbedding(embed_dim=1))
index.as_retriever(similarity_top_k=3).retrieve("how do we rank?")
"""

from llama_index.vector_stores.vecsec.vector_store import VecSecVectorStore
from vecsec_client.frameworks.labels import LabelKeys
from vecsec_client.frameworks.values import MADE_UP_KEY

__all__ = ["MADE_UP_KEY", "LabelKeys", "VecSecVectorStore"]
