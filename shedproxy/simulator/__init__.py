"""The world in virtual time, pure and seeded: it drives the real Shedder and its competitors.

What lives here: the clock, backends, clients, faults, reference controllers, checkers, the oracle
and the score. What may not: real time, threads, sockets, files, chance of its own.
"""
