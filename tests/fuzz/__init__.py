"""Random policies, callers and labels: all who decide must decide alike. `make fuzz` goes on for as long as told."""
