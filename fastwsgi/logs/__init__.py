"""The error log and the access log, and where else their lines and figures go."""
