"""Servers of every kind under mixed load, with hostile clients and faults, for minutes or hours: `make soak`.

`server` is what is soaked, `clients` and `hostile` are who asks, `faults` what befalls it, `accounting` what has
become of each request and each line of the access log, `measuring` what processes hold, `report` what is told.
"""
