"""Calibration: plan -> play -> windows -> fit -> derive -> verify -> write.

What may not live here: how a request is sent (`loadgen`), and how results are shown. Everything but
`run` and what it drives is pure: it is given virtual or real time, and cannot tell them apart.
"""
