"""The master process: what it decides, as a machine without a clock, and how that is carried out."""
