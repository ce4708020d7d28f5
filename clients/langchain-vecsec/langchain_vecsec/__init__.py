"""VecSec for LangChain: each user is answered with what that user may read.

store = VecSecVectorStore(client, sensitivity="INTERNAL", topics=["rag"])
retriever = store.as_retriever(k=3)
retriever.invoke("how do we rank?", config={"configurable": {"vecsec_token": token_of_the_user}})
"""

from langchain_vecsec.identity import TENANT_KEY, TOKEN_KEY
from langchain_vecsec.labels import LabelKeys
from langchain_vecsec.retriever import VecSecRetriever
from langchain_vecsec.rows import MADE_UP_KEY
from langchain_vecsec.vector_store import VecSecVectorStore

__all__ = ["MADE_UP_KEY", "TENANT_KEY", "TOKEN_KEY", "LabelKeys", "VecSecRetriever", "VecSecVectorStore"]
