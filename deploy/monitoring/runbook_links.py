"""Has alerts link to the runbook where your people read it: `runbook_links.py https://wiki.example/vecsec/RUNBOOK`.

It writes the address into the rules of this folder, and into their copy for the Prometheus operator; again with another
address, which takes the first one's place. `deploy/RUNBOOK.md`, as they are delivered, is a path and cannot be clicked.
"""

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

_HERE = Path(__file__).parent
_COPY = _HERE.parent / "kubernetes" / "components" / "monitoring" / "generated" / "prometheus-rules.yaml"
_LINK = re.compile(r"(?m)^(\s*runbook_url: )\S+?(#[\w-]+)$")
_WORDS = re.compile(r"[A-Za-z0-9._~/%:@!$&()*+,;=?\[\]-]+")


def problem_of(base: str) -> str | None:
    """What is wrong with an address as a base of links; None if nothing is."""
    try:
        parts = urlsplit(base)
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it is no address that starts with https:// or http:// and a host"
    if parts.fragment or base.endswith("#"):
        return "it has a fragment (#…), and alerts add their own"
    return None if _WORDS.fullmatch(base) else "it holds blanks or signs that an address cannot hold"


def linked(rules: str, base: str) -> str:
    """The text of rules, with links to the sections of the runbook that is at `base`."""
    return _LINK.sub(lambda link: f"{link[1]}{base}{link[2]}", rules)


def main(arguments: list[str]) -> int:
    """Write the files; return the exit status."""
    if len(arguments) != 1:
        print("usage: runbook_links.py BASE, such as https://wiki.example/vecsec/RUNBOOK", file=sys.stderr)
        return 2
    [base] = arguments
    if problem := problem_of(base):
        print(f"{base!r} cannot be the runbook's address: {problem}", file=sys.stderr)
        return 2
    for path in (*sorted((_HERE / "rules").glob("*.yaml")), _COPY):
        path.write_text(linked(path.read_text(), base))
    print(f"alerts link to {base}#…; have Prometheus read its rules again (POST /-/reload, or apply)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
