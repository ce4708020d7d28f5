"""`python -m vecsec_retrieval` runs the retrieval service; with `--check` it only says whether it could."""

import os

from vecsec_chassis.rpc.grpc_polling import poll_directly

if __name__ == "__main__":
    poll_directly()
    # Scans run beside each other in threads of ours. A second thread for one product gains nothing on busy cores:
    # waiting for it took 20 ms where the product itself takes 1 ms.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Not before: gRPC and NumPy read their environment as soon as they are imported.
    from vecsec_chassis.process.starting import check_if_asked
    from vecsec_chassis.telemetry.stray_lines import turn_into_json
    from vecsec_retrieval.memory.budget import keep_arenas_few
    from vecsec_retrieval.settings import RetrievalSettings
    from vecsec_retrieval.start_checks import start_checks

    check_if_asked("retrieval", RetrievalSettings, start_checks)
    turn_into_json("retrieval")
    keep_arenas_few()
    # Not before: a check need not wait for them, and ChromaDB reads `.env` as soon as it is imported.
    from vecsec_chassis.process.service import run
    from vecsec_retrieval.app import running_retrieval

    run("retrieval", RetrievalSettings, running_retrieval)
