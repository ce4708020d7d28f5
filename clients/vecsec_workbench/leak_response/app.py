"""`vecsec panic`: the response to a suspected leak, in one command, and the way back."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_cli.commands.flag import setting_sentence
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.time_options import parse_time
from vecsec_workbench.leak_response.installation_files import InstallationFiles
from vecsec_workbench.leak_response.kill_switch import KillSwitch
from vecsec_workbench.leak_response.response import LeakResponse
from vecsec_workbench.leak_response.steps import StepOutcome, print_steps, run_step

app = typer.Typer(name="panic", help="Respond to a suspected leak, and come back.", add_completion=False)


@app.command()
def panic(
    *,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Only for this tenant; may be repeated.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="For all tenants.")] = False,
    release: Annotated[bool, typer.Option("--release", help="The way back: real answers again.")] = False,
    share: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="With --release: for this share of all tenants, the same ones first."),
    ] = None,
    since: Annotated[str, typer.Option(help="Collect audit records from then on: 24h, 7d, 2026-03-01T12:00.")] = "24h",
    evidence: Annotated[
        Path | None, typer.Option(help="A new folder for the evidence. Default: in the state directory.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Print the same steps for Kubernetes, and do nothing.")
    ] = False,
    token: Annotated[
        str,
        typer.Option(
            envvar="VECSEC_TOKEN",
            help="To try the outcome with, where there is no issuer in the state directory; of a caller who may read.",
            show_default=False,
        ),
    ] = "",
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Stop real answers, revoke all grants, prove both, and collect evidence: for a suspected leak.

    Every step is tried, whatever becomes of the others; the exit status is 1 if one failed. It may be repeated. Run it
    on the machine of the services. Grants are revoked for all tenants, whose callers notice nothing; writing is not
    stopped: who may write what the policy says. With --release: the way back, one tenant, a share, then all.
    """
    tenants = sorted(set(tenant or ()))
    chosen = bool(tenants) + everybody + (share is not None)
    if chosen != 1 or (share is not None and not release):
        raise CommandFailure(
            "say for whom: --tenant TENANT, which may be repeated, or --all"
            + ("; or --share SHARE of all tenants" if release else "")
        )
    if release and dry_run:
        raise CommandFailure("--release sets the flag and nothing else; look at it with `vecsec flag get`")
    _refuse_unknown(tenants, frozenset())
    if kubernetes:
        output.say(kubernetes_steps(tenants))
        return
    files = InstallationFiles.of(state_directory(state_dir))
    files.require_installation()
    known = files.known_tenants()
    _refuse_unknown(tenants, known)
    if release:
        _release(KillSwitch(files.flags, files.marker), tenants, share, known, json=json)
    else:
        folder = files.evidence_folder(tenants) if evidence is None else evidence.absolute()
        response = LeakResponse(files, tenants, known, parse_time(since, "--since"), folder, token)
        _respond(response, dry_run=dry_run, json=json)


def _refuse_unknown(tenants: Sequence[str], known: frozenset[str]) -> None:
    """A misspelt tenant must not be taken for one that was stopped."""
    listed = f"it lists {', '.join(sorted(known))}; " if known else ""
    for name in tenants:
        if not is_tenant_id(name) or (known and name not in known):
            raise CommandFailure(f"the policy lists no tenant {name!r}", hint=f"{listed}--all means everybody")


def _respond(response: LeakResponse, *, dry_run: bool, json: bool) -> None:
    with ExitStack() as stack:
        for step in response.steps(stack):
            response.reports.append(run_step(step, dry_run=dry_run))
    is_well = all(each.outcome is not StepOutcome.FAILED for each in response.reports)
    if json:
        document = {
            "ok": is_well,
            "dry_run": dry_run,
            "steps": [each.as_json() for each in response.reports],
            "evidence": None if dry_run else str(response.folder),
            "next": list(response.next_steps()),
        }
        output.print_json(document)
    else:
        print_steps(response.reports, response.next_steps())
    if not is_well:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _release(
    switch: KillSwitch, tenants: Sequence[str], share: float | None, known: frozenset[str], *, json: bool
) -> None:
    released: Sequence[str] = tenants
    if share is not None:
        released, setting = switch.release_share(share, known)
    elif tenants:
        setting = switch.release_tenants(tenants)
    else:
        setting = switch.release_all()
    if json:
        output.print_json({"released": list(released), "default": setting.default, "tenants": dict(setting.tenants)})
        return
    output.say(f"released: {', '.join(released) or ('nobody' if share is not None else 'everybody')}")
    output.say(setting_sentence(setting))
    output.note("watch CrossTenantViolation, ForeignRow and PlanCheckDivergence before the next ones follow")


_STEPS = """\
# In an empty folder that is yours alone, with kubectl set for the cluster. The namespace is vecsec.
umask 077 && mkdir -p state/keys && export VECSEC_STATE_DIR=$PWD/state
object() {{ kubectl -n vecsec create "$@" --dry-run=client -o yaml | kubectl -n vecsec apply -f -; }}
refresh() {{ kubectl -n vecsec annotate pods --all --overwrite "vecsec.example/refreshed=$(date +%s)"; }}

# 1. Stop real answers. Pods read changed objects at the kubelet's pace; the annotation makes it look at once.
kubectl -n vecsec get configmap vecsec-flags -o jsonpath='{{.data.flags\\.json}}' > state/flags.json
vecsec flag set off{options}
object configmap vecsec-flags --from-file=state/flags.json
refresh

# 2. Revoke grants: a new pair of keys, and no other. Until all pods have both halves, calls fail: no row is answered.
openssl genpkey -algorithm ed25519 -out state/keys/grant.pem
python3 - > grant.jwks.json <<'EOF'
import json
from pathlib import Path
from vecsec_cli.local.development_issuer import public_jwk, read_key
print(json.dumps({{"keys": [public_jwk(read_key(Path("state/keys/grant.pem")))]}}))
EOF
object configmap vecsec-grant-keys --from-file=grant.jwks.json
object secret generic vecsec-grant-key --from-file=grant.pem=state/keys/grant.pem
refresh
rm state/keys/grant.pem

# 3. Collect evidence: the log of each replica of the policy service, the rules, the flag, the pods.
for pod in $(kubectl -n vecsec get pods -l app.kubernetes.io/component=policy -o name); do
  kubectl -n vecsec exec "$pod" -c vecsec -- python -c \\
    'import glob; [print(open(f).read(), end="") for f in sorted(glob.glob("/var/lib/vecsec/audit/*.jsonl"))]' \\
    > "audit.${{pod##*/}}.jsonl"
done
for app in gateway retrieval policy; do
  kubectl -n vecsec logs -l app.kubernetes.io/component=$app --tail=-1 --prefix > "$app.log"
done
kubectl -n vecsec get configmaps -o yaml > objects.yaml
sha256sum -- *.jsonl *.log objects.yaml > manifest.sha256

# Back: `vecsec flag set on --tenant TENANT`, and `object configmap vecsec-flags --from-file=state/flags.json`.
"""


def kubernetes_steps(tenants: Collection[str]) -> str:
    """The commands for these tenants, or for all if none is named: on Kubernetes the flag and the keys are objects, not
    files here."""
    return _STEPS.format(options="".join(f" --tenant {tenant}" for tenant in sorted(tenants)))
