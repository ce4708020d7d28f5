"""What every VecSec service stands on: identity, labels, grants, errors, telemetry and the gRPC server around them."""
