"""Whether the vector store can be reached and used: `python3 scripts/test_vector_store_connection.py`.

The original runbook's command, as it is typed there. `vecsec doctor` does the work and says more; this prints what it
finds of store and retrieval, then `Connected` or `Failed`, and ends with status 0 or 1. Options (`--stack`,
`--compose-file`, `--namespace`, `--state-dir`) go to the doctor.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

OF_THE_STORE = ("stack", "store", "cell", "retrieval", "vector store", "chromadb", "settings and files")
OF_OTHERS = ("policy", "gateway", "vecsec-agent", "vecsec-gateway", "vecsec-policy")
_OURS = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "vecsec"


def is_about_the_store(check: str) -> bool:
    """Whether a check of the doctor's says something of the store, or of the service that has it."""
    return not check.startswith(OF_OTHERS) and any(word in check for word in OF_THE_STORE)


def main(arguments: list[str]) -> int:
    """Ask the doctor; return the exit status."""
    program = str(_OURS) if _OURS.exists() else "vecsec"
    try:
        done = subprocess.run(
            [program, "doctor", "--json", *arguments], env=os.environ, capture_output=True, text=True, check=False
        )
        findings = json.loads(done.stdout)["checks"]
    except OSError as error:
        print(f"Failed: {program}: {error.strerror}; `make lint` or `pip install` makes it", file=sys.stderr)
        return 1
    except (ValueError, KeyError):
        print(f"Failed: {done.stderr.strip() or done.stdout.strip()}", file=sys.stderr)
        return 1
    wanted = [each for each in findings if is_about_the_store(each["check"])]
    for each in wanted:
        remedy = f" -> {each['remedy']}" if each["remedy"] else ""
        print(f"{each['state']:5} {each['check']}: {each['detail']}{remedy}")
    was_looked_at = any("retrieval" in each["check"] for each in wanted)
    is_well = was_looked_at and all(each["state"] != "fail" for each in wanted)
    print("Connected" if is_well else "Failed" if was_looked_at else "Failed: retrieval could not be looked at")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
