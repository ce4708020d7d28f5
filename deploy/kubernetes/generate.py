"""Writes the manifests that hold a copy of other files, so that each of these has one source.

`python deploy/kubernetes/generate.py`; a test says when that was forgotten.
"""

import base64
from collections.abc import Mapping
from pathlib import Path

import yaml

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_POLICY = _ROOT / "services" / "vecsec_policy" / "default_policy"
_RULES = _ROOT / "deploy" / "monitoring" / "rules"
_DASHBOARDS = _ROOT / "deploy" / "monitoring" / "dashboards"
_COMPONENTS = _HERE / "components"
_HTTP = _ROOT / "deploy" / "http"
SHARDS = 3
"""As many as components/shards/retrieval.yaml has replicas."""
PLACEMENT_EPOCH = 1
"""Grows whenever SHARDS or pins change."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they were."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def generated() -> Mapping[Path, str]:
    """The generated files, by path."""
    return {
        _HERE / "base" / "generated" / "policy-files.yaml": _manifest(_policy_files(), _POLICY),
        _COMPONENTS / "http" / "generated" / "http-files.yaml": _manifest(_http_files(), _HTTP),
        _COMPONENTS / "monitoring" / "generated" / "prometheus-rules.yaml": _manifest(_rules(), _RULES),
        _COMPONENTS / "monitoring" / "generated" / "dashboards.yaml": _dashboards(),
        _HERE / "once" / "placement.yaml": _manifest(_placement(), _HERE / "generate.py"),
    }


def _policy_files() -> dict[str, object]:
    """The default policy; an overlay puts its own ConfigMap of this name in its place."""
    files = sorted(path for path in _POLICY.iterdir() if path.is_file())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "vecsec-policy"},
        "data": {path.name: path.read_text() for path in files},
    }


def _http_files() -> dict[str, object]:
    """What Envoy reads: its configuration, and the gateway's contract."""
    contract = base64.b64encode((_HTTP / "gateway.binpb").read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "vecsec-http", "namespace": "vecsec"},
        "data": {"envoy.yaml": (_HTTP / "envoy.yaml").read_text()},
        "binaryData": {"gateway.binpb": contract},
    }


def _rules() -> dict[str, object]:
    groups = [group for path in sorted(_RULES.glob("*.yaml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "vecsec", "namespace": "vecsec", "labels": {"release": "kube-prometheus-stack"}},
        "spec": {"groups": groups},
    }


def _dashboards() -> str:
    """One object each, for there is a limit of size; Grafana's sidecar finds them by their label."""
    return "---\n".join(_manifest(_dashboard(path), path) for path in sorted(_DASHBOARDS.glob("*.json")))


def _dashboard(path: Path) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"vecsec-dashboard-{path.stem}",
            "namespace": "vecsec",
            "labels": {"grafana_dashboard": "1"},
        },
        "data": {f"vecsec-{path.name}": path.read_text()},
    }


def _placement() -> dict[str, object]:
    """Which pod is which shard; made once, and the operators' from then on."""
    names = [f"vecsec-retrieval-{number}" for number in range(SHARDS)]
    shards = [{"name": name, "address": f"dns:///{name}.vecsec-retrieval.vecsec.svc:50052"} for name in names]
    placement = {"epoch": PLACEMENT_EPOCH, "shards": shards, "pinned": {}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "vecsec-placement", "namespace": "vecsec"},
        "data": {"placement.yaml": yaml.safe_dump(placement, sort_keys=False)},
    }


def _manifest(content: dict[str, object], source: Path) -> str:
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return f"# Generated from {source.relative_to(_ROOT)} by deploy/kubernetes/generate.py; change it there.\n{text}"


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
