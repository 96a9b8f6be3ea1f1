"""What decides, apart from every data plane, which document runs where. Data planes never need it.

What may not live here: anything a request waits for. `rollout` and `move` are pure.
"""
