"""The services behind the gateway: their contract, and clients with retries, deadlines and circuit breakers."""
