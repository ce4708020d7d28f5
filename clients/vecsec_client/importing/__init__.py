"""An import as one session over a stream: batches, acknowledgements, and going on after a break."""
