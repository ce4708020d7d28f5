"""What to type next, printed when `vecsec up` is ready."""

import shutil
import sys
from pathlib import Path

from vecsec_cli.local.run_file import RunFile
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.service_errors import MINT_TOKEN
from vecsec_cli.terminal.text import plain

_METHOD = "vecsec.gateway.v1.GatewayService/SearchDocuments"
_ASK = '{"tenant_id": "tenant_a", "query": {"text": "spring campaign"}, "k": 3}'


def print_next_steps(state: StateDirectory, run: RunFile) -> None:
    """Commands for another terminal in the same folder, ready to be copied."""
    gateway = run.gateway_address
    metrics = run.services["gateway"].metrics_url
    environment = f"export VECSEC_STATE_DIR={state.root} VECSEC_GATEWAY={gateway}"
    if shutil.which("vecsec") is None:
        environment = f"export PATH={Path(sys.executable).parent}:$PATH\n{environment}"
    steps = (
        ("Things to type next, in another terminal:", environment),
        ("a token of your own", MINT_TOKEN),
        ("search", 'vecsec search "spring campaign" --tenant tenant_a --k 3'),
        (
            "the same with grpcurl",
            f"""grpcurl -plaintext -H "authorization: Bearer $VECSEC_TOKEN" -d '{_ASK}' {gateway} {_METHOD}""",
        ),
        ("may I?", "vecsec explain --tenant tenant_a --sensitivity SECRET --topics retrieval --action read"),
        ("your own documents", "vecsec import documents.jsonl --tenant tenant_a --sensitivity PUBLIC --topics rag"),
        ("turn real retrieval off and on, live", "vecsec flag set off; vecsec flag set on"),
        ("figures", f"curl -s {metrics} | grep vecsec_"),
        ("is everything well?", "vecsec doctor"),
    )
    out = output.console()
    for title, command in steps:
        out.print(plain(f"# {title}", "dim"))
        out.print(plain(command), soft_wrap=True)
    out.print()
