"""What a precision costs in sound and saves in time and memory: one report on candidates against a baseline."""
