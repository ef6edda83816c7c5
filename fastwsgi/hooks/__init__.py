"""Hooks of a configuration file: when they are called, with what, and what becomes of their errors."""
