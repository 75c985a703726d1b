"""What torch modules have in common: memory, ranges, σ, rest, what they take, who may pass by."""
