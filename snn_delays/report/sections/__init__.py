"""What a report says of a run, a section a file: each says for itself whether it has anything."""
