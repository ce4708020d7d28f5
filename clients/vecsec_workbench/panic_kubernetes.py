"""The steps of a leak response on Kubernetes, to be typed: there the flag and the keys are objects, not files here."""

from collections.abc import Collection

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
from vecsec_cli.development_issuer import public_jwk, read_key
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
    """The commands for these tenants, or for all if none is named."""
    return _STEPS.format(options="".join(f" --tenant {tenant}" for tenant in sorted(tenants)))
