"""The pods of a namespace, as deploy/kubernetes has them, through `kubectl` and whatever cluster it is set to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.checks.stacks.stack import KINDS, Command, Looked, Run, ServicePlace, demand

_COMPONENT = "app.kubernetes.io/component"
_SELECTOR = f"app.kubernetes.io/part-of=vecsec,{_COMPONENT}"
"""Of VecSec: others in the namespace have components, too."""
_CONTAINER = "vecsec"
_HINT = "kubectl config get-contexts; --namespace names another namespace"
_MANY_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The stack of a namespace."""

    namespace: str
    context: str
    """Of kubectl, as it was when the doctor began: it is named in every call, so that a change meanwhile is none."""

    @classmethod
    def current(cls, namespace: str, run: Run) -> "Kubernetes":
        """The namespace in the cluster that kubectl is set to.

        Raises:
            CommandFailure: if it is set to none.
        """
        return cls(namespace, demand(run, ["kubectl", "config", "current-context"], _HINT).strip())

    @property
    def title(self) -> str:
        """Which cluster and namespace it is."""
        return f"Kubernetes namespace {self.namespace} of context {self.context}"

    @property
    def command(self) -> list[str]:
        """How kubectl is called for it."""
        return ["kubectl", f"--context={self.context}", f"--namespace={self.namespace}"]

    def gateway_port(self, run: Run) -> int | None:
        """None: it is reached through whatever somebody forwards."""
        return None

    def look(self, run: Run) -> Looked:
        """Ask for the pods."""
        listing = demand(run, [*self.command, "get", "pods", f"--selector={_SELECTOR}", "--output=json"], _HINT)
        # Those of jobs that have ended well are nobody's any more.
        lasting = [pod for pod in json.loads(listing)["items"] if pod["status"].get("phase") != "Succeeded"]
        pods = [(str(pod["metadata"]["labels"][_COMPONENT]), pod) for pod in lasting]
        findings = [self._finding(pod) for _, pod in pods]
        there = {kind for kind, _ in pods}
        events = f"{self._typed} get events --sort-by=.lastTimestamp"
        findings += [fail(kind, "there is no pod of it", events) for kind in KINDS if kind not in there]
        places = [self._place(kind, pod) for kind, pod in pods if kind in KINDS and _is_running(pod)]
        return Looked(places, findings)

    @property
    def _typed(self) -> str:
        return " ".join(self.command)

    def _place(self, kind: str, pod: Mapping[str, Any]) -> ServicePlace:
        name = pod["metadata"]["name"]
        owner = str((pod["metadata"].get("ownerReferences") or [{}])[0].get("kind", ""))
        workload = f"statefulset/vecsec-{kind}" if owner == "StatefulSet" else f"deployment/vecsec-{kind}"
        return ServicePlace(
            name=name,
            kind=kind,
            python=Command([*self.command, "exec", "--stdin", name, f"--container={_CONTAINER}", "--", "python", "-P"]),
            restart=f"{self._typed} rollout restart {workload}",
            logs=f"{self._typed} logs --tail=50 {name}",
        )

    def _finding(self, pod: Mapping[str, Any]) -> CheckResult:
        name, status = pod["metadata"]["name"], pod["status"]
        containers = status.get("containerStatuses") or []
        logs = f"{self._typed} logs --tail=50 {name}"
        waiting = [each["state"]["waiting"] for each in containers if "waiting" in each.get("state", {})]
        if waiting or status.get("phase") != "Running":
            reason = waiting[0].get("reason", "") if waiting else status.get("phase", "")
            message = waiting[0].get("message", "") if waiting else status.get("message", "")
            return fail(
                name, f"{reason} {message}".strip()[:400], f"{self._typed} describe pod {name}; {logs} --previous"
            )
        if not all(each.get("ready") for each in containers):
            return fail(name, "running, but does not serve", logs)
        restarts = sum(each.get("restartCount", 0) for each in containers)
        if restarts > _MANY_RESTARTS:
            return warn(name, f"ready, after {restarts} restarts", f"{logs} --previous")
        return ok(name, f"ready on {pod['spec'].get('nodeName', 'its node')}")


def _is_running(pod: Mapping[str, Any]) -> bool:
    containers = pod["status"].get("containerStatuses") or []
    return any("running" in each.get("state", {}) for each in containers)
