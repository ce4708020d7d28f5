"""A shard as a process of its own, which can be killed, held and started again."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

from support.new_store import ANY_TIME
from support.sharded_stack import ShardedStack


@dataclass
class ShardProcess:
    """One of a sharded stack's shards."""

    sharded: ShardedStack
    name: str
    _process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        told = {
            "VECSEC_RETRIEVAL_PORT": self.sharded.ports[self.name],
            "VECSEC_RETRIEVAL_METRICS_PORT": 0,
            "VECSEC_GRANT_JWKS": self.sharded.stack.issuer.grant_jwks_file,
            "VECSEC_FLAG_FILE": self.sharded.stack.flag_file,
            "VECSEC_NEW_STORE_UNTIL": ANY_TIME.isoformat(),
            "VECSEC_PLACEMENT_FILE": self.sharded.placement_file,
            "VECSEC_SHARD": self.name,
            "CHROMA_PATH": self.sharded.store(self.name),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with (self.sharded.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vecsec_retrieval"],
                env={**os.environ, **{name: str(value) for name, value in told.items()}},
                cwd=self.sharded.folder,
                stdout=log,
                stderr=log,
            )
        self.sharded.know(self.name)

    def send(self, number: signal.Signals) -> None:
        """Stop it, hold it, let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait for that."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(60)
