"""Timings of single parts, without sockets: `python -m bench.micro.parse`, `python -m bench.micro.head`."""
