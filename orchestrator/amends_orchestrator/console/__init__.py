"""The live pages for people: what runs, what went wrong, what can be done about it."""
