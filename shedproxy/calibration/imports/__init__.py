"""Load tests that other tools ran, read from the files that they leave.

PURE: text in, a `LoadRecord` out, and what may be concluded from it. What a file does not say is
not made up: a percentile that is missing stays missing.
"""
