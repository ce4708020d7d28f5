"""`python -m vecsec_retrieval` runs the retrieval service; with `--check` it only says whether it could."""

import os

# Scans run beside each other in threads of ours. A second thread for one product gains nothing on busy cores: waiting
# for it took 20 ms where the product itself takes 1 ms. NumPy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from vecsec_chassis.starting import check_or_go_on
from vecsec_retrieval.process_memory import keep_arenas_few
from vecsec_retrieval.settings import RetrievalSettings
from vecsec_retrieval.start_checks import start_checks

if __name__ == "__main__":
    check_or_go_on("retrieval", RetrievalSettings, start_checks)
    keep_arenas_few()
    # Not before: a check need not wait for them, and ChromaDB reads `.env` as soon as it is imported.
    from vecsec_chassis.service import run
    from vecsec_retrieval.app import running_retrieval

    run("retrieval", RetrievalSettings, running_retrieval)
