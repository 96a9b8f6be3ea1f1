"""What shedproxy costs, beside its peers. `python -m benchmarks NAME`; see README.md beside this.

In a checkout the source would come before an installed wheel, whose modules are compiled: so the
package is imported from where it is installed, before anything else is. Programs that load an app
from here come by this way too.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_path = sys.path[:]
sys.path[:] = [entry for entry in _path if entry and Path(entry).resolve() != _ROOT]
with contextlib.suppress(ImportError):  # an editable install is the checkout
    import shedproxy  # noqa: F401 - imported to be there first
sys.path[:] = _path
if getattr(sys.modules.get("shedproxy"), "__file__", None) is None:
    # An editable install may leave a directory of data there, which is imported as a package.
    sys.modules.pop("shedproxy", None)
