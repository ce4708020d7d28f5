"""What the distributions for frameworks (`clients/NAME`) have in common; applications import those."""
