"""A real Envoy with the configuration of deploy/http, in front of a gateway of a test."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.installation import free_ports
from support.parts import find_program
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
HTTP = ROOT / "deploy" / "http"


def configuration(text: str, folder: Path, places: dict[str, str]) -> Path:
    """The configuration with what it names replaced by what is here; each must be named."""
    for place, here in {"/etc/vecsec-http": str(HTTP), **places}.items():
        assert place in text, place
        text = text.replace(place, here)
    target = folder / "envoy.yaml"
    target.write_text(text)
    return target


@contextmanager
def running_envoy(folder: Path, gateway_port: int) -> Iterator[str]:
    """Its address, as long as it runs."""
    (port,) = free_ports(1)
    places = {
        "address: 0.0.0.0, port_value: 8080": f"address: 127.0.0.1, port_value: {port}",
        "address: vecsec-gateway, port_value: 50051": f"address: 127.0.0.1, port_value: {gateway_port}",
    }
    file = configuration((HTTP / "envoy.yaml").read_text(), folder, places)
    program = find_program("envoy")
    assert program is not None
    log = folder / "envoy.log"
    options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-path", str(log))
    process = subprocess.Popen([program, "--config-path", str(file), *options], cwd=folder)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(address) or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
