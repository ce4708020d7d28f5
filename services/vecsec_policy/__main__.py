"""`python -m vecsec_policy` runs the policy service."""

from vecsec_chassis.service import run
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings

if __name__ == "__main__":
    run("policy", PolicySettings, running_policy)
