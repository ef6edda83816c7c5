"""The mix: a site, the users that bench/locustfile.py makes of locust, and servers measured under them."""
