"""The SDK's border: values to messages and back, statuses to typed errors."""
