"""Live load: an open-loop player, its HTTP client, and a service of known capacity to aim at."""

from shedproxy.loadgen.player import Player, PlayerHealth
from shedproxy.loadgen.service import DemoService

__all__ = ["DemoService", "Player", "PlayerHealth"]
