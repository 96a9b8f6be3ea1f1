"""Live load: an open-loop player, its HTTP client, and a service of known capacity to aim at.

What may not live here: decisions about admission, and anything a data plane imports.
`loadgen.station` is run as a module, so it is not imported here.
"""

from shedproxy.loadgen.player import Player, PlayerHealth

__all__ = ["Player", "PlayerHealth"]
