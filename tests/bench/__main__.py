"""`python -m bench`: what `make bench` runs."""

from vecsec_chassis.rpc.grpc_polling import poll_directly

if __name__ == "__main__":
    poll_directly()  # as the SDK's page advises callers; before gRPC is imported
    from bench.run import main

    main()
