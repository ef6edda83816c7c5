"""What processes of Unix have in common: fork, signals, sockets, shared memory, identity."""
