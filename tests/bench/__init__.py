"""`make bench`: VecSec beside bare ChromaDB, on the same data, in one run."""
