"""What the gateway does with a call: plan, ask retrieval or make rows up, check, answer."""
