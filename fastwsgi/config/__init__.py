"""Configuration: the table of settings, the places where users put them, and how those are merged."""
