"""`python -m vecsec_retrieval` runs the retrieval service."""

import os

# Scans run beside each other in threads of ours. A second thread for one product gains nothing on busy cores: waiting
# for it took 20 ms where the product itself takes 1 ms. NumPy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from vecsec_chassis.service import run
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

if __name__ == "__main__":
    run("retrieval", RetrievalSettings, running_retrieval)
