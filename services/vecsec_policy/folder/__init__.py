"""A policy folder read from disk, with every problem's file and line."""
