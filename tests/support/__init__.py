"""What tests share: real keys, real tokens, and the services in their production wiring."""
