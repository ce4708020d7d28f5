"""How good answers are: questions with accepted answers, by mode, beside BM25 and bare ChromaDB."""
