"""`python -m vecsec_retrieval` runs the retrieval service."""

from vecsec_chassis.service import run
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

if __name__ == "__main__":
    run("retrieval", RetrievalSettings, running_retrieval)
