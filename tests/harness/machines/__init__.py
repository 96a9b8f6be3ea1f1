"""Models of our state machines for `harness.explorer`: the real functions, and a hostile world."""
