"""Settings: TOML, environment and flags become a `Document`, or every problem at once.

The only door is here. `models` and `cells` say what may be set; `layers` reads it, `problems`,
`checks` and `advice` judge it, `compile` turns it into what data planes run.
"""

from shedproxy.settings.cell_checks import most_rps, placed_rps
from shedproxy.settings.control_plane import (
    ControlPlaneSettings,
    MoveSettings,
    PromotionSettings,
    Role,
    TokenSettings,
    load_control_plane,
    plane_address,
)
from shedproxy.settings.load import (
    EffectiveValue,
    Loaded,
    load_document,
    load_settings,
    require_upstream,
)
from shedproxy.settings.managed import SnapshotSettings
from shedproxy.settings.models import (
    ControlSettings,
    LogSettings,
    ServerSettings,
    Settings,
    TelemetrySettings,
)
from shedproxy.settings.quantities import parse_duration, parse_size, show_duration
from shedproxy.settings.render import has_color, render_problems
from shedproxy.settings.schema import SCHEMA_FILE, settings_json_schema
from shedproxy.settings.template import commented_default_toml

__all__ = [
    "SCHEMA_FILE",
    "ControlPlaneSettings",
    "ControlSettings",
    "EffectiveValue",
    "Loaded",
    "LogSettings",
    "MoveSettings",
    "PromotionSettings",
    "Role",
    "ServerSettings",
    "Settings",
    "SnapshotSettings",
    "TelemetrySettings",
    "TokenSettings",
    "commented_default_toml",
    "has_color",
    "load_control_plane",
    "load_document",
    "load_settings",
    "most_rps",
    "parse_duration",
    "parse_size",
    "placed_rps",
    "plane_address",
    "render_problems",
    "require_upstream",
    "settings_json_schema",
    "show_duration",
]
