"""`python -m vecsec_chassis.rpc.probe ADDRESS [PART]`: exit status 0 if a service, or a part of it, serves.

For images, which hold no shell and no tools. The address is the service's health port, which speaks no TLS.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_ANSWER_SECONDS = 2.0


def probe(address: str, part: str = "") -> str | None:
    """Why the service is not well; None if it is."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = health_pb2.HealthCheckRequest(service=part)
        try:
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_ANSWER_SECONDS).status
        except grpc.RpcError as error:
            return f"{address}: {error.code().name}"
    if status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit("usage: python -m vecsec_chassis.rpc.probe ADDRESS [PART]")
    sys.exit(probe(*sys.argv[1:]))
