"""Live load: an open-loop player, its HTTP client, and a service of known capacity to aim at.

What may not live here: decisions about admission, and anything a data plane imports.
`loadgen.station_server` is run as a module, so it is not imported here.
"""

from shedproxy.loadgen.player import Player, PlayerHealth
from shedproxy.loadgen.station import Station, StationReport

__all__ = ["Player", "PlayerHealth", "Station", "StationReport"]
