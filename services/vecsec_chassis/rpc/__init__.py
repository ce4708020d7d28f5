"""The gRPC server: its chain of interceptors, request rules, errors, health, and lanes."""
