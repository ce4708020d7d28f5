"""The values that all services share: labels, actions, ids and errors. No wire, no files, no clock."""
