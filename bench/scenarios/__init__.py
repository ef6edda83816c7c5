"""What a benchmark of requests per second does not show: slow clients, fairness, overload, streams."""
