"""Google Speech Commands: spoken words as wav files."""
