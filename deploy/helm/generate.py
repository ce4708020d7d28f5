"""Writes what the chart holds from the rendered overlays, so that both say the same: `python deploy/helm/generate.py`.

A profile of the chart is an overlay, with a mark in place of the namespace, which is the release's. What the monitoring
component makes is the same in all of them and kept once. Needs kubectl; a test says when this was forgotten.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

_HERE = Path(__file__).resolve().parent
_OVERLAYS = _HERE.parent / "kubernetes" / "overlays"
PROFILES = ("dev", "prod", "prod-remote-store", "prod-shards", "prod-service-accounts")
MARK = "__namespace__"
_NAMESPACE = re.compile(r"(?m)(?<=^  namespace: )vecsec$|(?<=\.)vecsec(?=\.svc\b)")
_MONITORING = ("ServiceMonitor", "PrometheusRule")
_BOARD = "grafana_dashboard"


def generated(kubectl: str = "kubectl") -> Mapping[Path, str]:
    """The chart's files, by path."""
    profiles = {name: list(_objects(_rendered(name, kubectl))) for name in PROFILES}
    of_monitoring = [text for text in profiles["prod"] if _is_monitoring(text)]
    files = {name: [text for text in objects if not _is_monitoring(text)] for name, objects in profiles.items()}
    files["monitoring"] = of_monitoring
    return {_HERE / "files" / f"{name}.yaml": "---\n".join(objects) for name, objects in files.items()}


def _rendered(overlay: str, kubectl: str) -> str:
    command = [kubectl, "kustomize", str(_OVERLAYS / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (of ours)


def _objects(rendered: str) -> Iterator[str]:
    """Each object's text, but not the namespace: Helm makes it, or somebody before."""
    for text in re.split(r"(?m)^---\n", rendered):
        if yaml.safe_load(text)["kind"] != "Namespace":
            yield _NAMESPACE.sub(MARK, text)


def _is_monitoring(text: str) -> bool:
    manifest = yaml.safe_load(text)
    return manifest["kind"] in _MONITORING or _BOARD in manifest["metadata"].get("labels", {})


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
