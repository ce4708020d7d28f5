"""The rendered manifests of deploy/kubernetes, and what they say about each workload."""

import functools
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.parts import find_program
from support.waiting import COMMAND_SECONDS

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("dev", "prod", "prod-remote-store", "prod-shards")

Manifest = Mapping[str, Any]


@functools.cache
def rendered_text(overlay: str) -> str:
    """What `kubectl apply --kustomize` would send."""
    kubectl = find_program("kubectl")
    assert kubectl is not None
    command = [kubectl, "kustomize", str(KUBERNETES / "overlays" / overlay)]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=COMMAND_SECONDS).stdout


@functools.cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load_all(rendered_text(overlay)))


def of_kind(overlay: str, *kinds: str) -> Iterator[Manifest]:
    return (each for each in rendered(overlay) if each["kind"] in kinds)


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet and its only container."""

    manifest: Manifest

    @property
    def component(self) -> str:
        return str(self.manifest["metadata"]["labels"]["app.kubernetes.io/component"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def pod(self) -> Manifest:
        return self.manifest["spec"]["template"]["spec"]

    @property
    def pod_labels(self) -> Mapping[str, str]:
        return self.manifest["spec"]["template"]["metadata"]["labels"]

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["containers"]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The values as the process sees them; where the pod is the source, its field's path."""
        seen: dict[str, str] = {}
        for each in self.container.get("env", []):
            value = each.get("value", "") or each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            for name, earlier in seen.items():
                value = value.replace(f"$({name})", earlier)
            seen[each["name"]] = value
        return seen

    @property
    def ports(self) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in self.container["ports"]}

    @property
    def mounts(self) -> dict[str, str]:
        """Mount paths by the volumes' names."""
        return {each["name"]: each["mountPath"] for each in self.container["volumeMounts"]}

    @property
    def volumes(self) -> dict[str, Manifest]:
        """What is mounted, by name, claims included."""
        claims = {each["metadata"]["name"]: {"claim": each} for each in self.spec.get("volumeClaimTemplates", [])}
        return {each["name"]: each for each in self.pod["volumes"]} | claims

    @property
    def spec(self) -> Manifest:
        return self.manifest["spec"]


def workloads(overlay: str) -> list[Workload]:
    return [Workload(each) for each in of_kind(overlay, "Deployment", "StatefulSet")]


def services(overlay: str) -> list[Workload]:
    """The workloads of our own services: not ChromaDB's server."""
    return [each for each in workloads(overlay) if each.component in {"gateway", "policy", "retrieval"}]
