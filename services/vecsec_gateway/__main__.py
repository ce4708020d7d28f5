"""`python -m vecsec_gateway`: the gateway as a process, told everything by its environment."""

from vecsec_chassis.service import run
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings

if __name__ == "__main__":
    run("gateway", GatewaySettings, running_gateway)
