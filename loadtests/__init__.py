"""Load tests of the running product, bounded in time and count, loopback only."""
