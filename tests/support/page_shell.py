"""The shell into which a reader types the blocks of a page, one after the other."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.pages import CodeBlock

BLOCK_SECONDS = 400
_KEPT = "shell-of-the-page"
"""A file in the shell's folder: what the blocks before have exported, and where they went."""


@dataclass(frozen=True)
class PageShell:
    """One shell for all blocks of a page: exports, and the folder that a block goes into, count for the next."""

    folder: Path
    environment: Mapping[str, str]
    addresses: Mapping[str, str]
    """What stands here in the place of the addresses that pages name."""

    def types(self, block: CodeBlock) -> None:
        """Type the block; it must end as the page says. A Python block must print something."""
        wanted = int(block.word) if block.marker == "exit status" else 0
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._with_what_was_kept(self._command(block))],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == wanted, f"{block}\n{block.text}\n{done.stdout}\n{done.stderr}"
        assert block.language != "python" or done.stdout, f"{block} printed nothing"

    def _command(self, block: CodeBlock) -> str:
        text = block.text
        for usual, here in self.addresses.items():
            text = text.replace(usual, here)
        return f"python <<'END OF THE BLOCK'\n{text}\nEND OF THE BLOCK" if block.language == "python" else text

    def _with_what_was_kept(self, command: str) -> str:
        kept = self.folder / _KEPT
        return (
            f'kept="{kept}"\n[ ! -e "$kept" ] || source "$kept"\n{command}\n'
            '{ declare -px | grep -v -w -e PWD -e OLDPWD -e SHLVL; printf "cd %q\\n" "$PWD"; } > "$kept"\n'
        )
