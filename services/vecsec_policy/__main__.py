"""`python -m vecsec_policy` runs the policy service; with `--check` it only says whether it could."""

from vecsec_chassis.rpc.grpc_polling import poll_directly

if __name__ == "__main__":
    poll_directly()
    # Not before: gRPC reads its environment as soon as it is imported.
    from vecsec_chassis.process.starting import check_if_asked
    from vecsec_chassis.telemetry.stray_lines import turn_into_json
    from vecsec_policy.settings import PolicySettings
    from vecsec_policy.start_checks import start_checks

    check_if_asked("policy", PolicySettings, start_checks)
    turn_into_json("policy")
    # Not before: a check need not wait for them.
    from vecsec_chassis.process.service import run
    from vecsec_policy.app import running_policy

    run("policy", PolicySettings, running_policy)
