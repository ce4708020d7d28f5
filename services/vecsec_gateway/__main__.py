"""`python -m vecsec_gateway` runs the gateway; with `--check` it only says whether it could."""

from vecsec_chassis.rpc.grpc_polling import poll_directly

if __name__ == "__main__":
    poll_directly()
    # Not before: gRPC reads its environment as soon as it is imported.
    from vecsec_chassis.process.starting import check_if_asked
    from vecsec_chassis.telemetry.stray_lines import turn_into_json
    from vecsec_gateway.settings import GatewaySettings
    from vecsec_gateway.start_checks import start_checks

    check_if_asked("gateway", GatewaySettings, start_checks)
    turn_into_json("gateway")
    # Not before: a check need not wait for them.
    from vecsec_chassis.process.service import run
    from vecsec_gateway.app import running_gateway

    run("gateway", GatewaySettings, running_gateway)
