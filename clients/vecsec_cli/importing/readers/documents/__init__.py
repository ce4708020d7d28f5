"""Readers of PDF, Word, PowerPoint, Excel and EPUB files. They run in a process of their own (`isolated.py`)."""
