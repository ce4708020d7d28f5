"""How commands speak with a person or a script: tables, JSON, errors, exit codes, words for time."""
