"""Side-by-side measurements of WSGI servers; `python -m bench.run --help` tells how."""
