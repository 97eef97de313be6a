"""Whole scripts to sound: a book, the cues of a film, lines for a live voice."""
