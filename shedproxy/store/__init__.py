"""Where snapshots are kept and whom to believe: objects, keys, the copy on local disk.

Below the supervisor and the control plane, which both use it. Nothing here decides what is put in
force. Cryptography and the client of object stores come with `shedproxy[control]` and are imported
when they are needed.
"""

from shedproxy.store.keys import KeyRing, SigningKey, write_key_pair
from shedproxy.store.last_good import Kept, LastGood
from shedproxy.store.objects import ObjectStore, open_store
from shedproxy.store.place import Place, PlaceFailedError, open_place, shown_place
from shedproxy.store.replacing import replace_file

__all__ = [
    "Kept",
    "KeyRing",
    "LastGood",
    "ObjectStore",
    "Place",
    "PlaceFailedError",
    "SigningKey",
    "open_place",
    "open_store",
    "replace_file",
    "shown_place",
    "write_key_pair",
]
