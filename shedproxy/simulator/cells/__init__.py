"""Worlds of several cells behind one proxy, each with its hosts, its limit and its keys."""
