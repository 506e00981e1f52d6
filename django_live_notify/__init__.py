"""Live user notifications for Django: `push(user, "…")` is stored, and shown at once.

The public names are imported when they are first used, so that importing this package loads no
model: a site's own `models.py` may import from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "EVERYONE",
    "Action",
    "Topic",
    "aemit",
    "afollow",
    "amute",
    "apush",
    "aschedule",
    "aunfollow",
    "aunmute",
    "emit",
    "follow",
    "mute",
    "push",
    "schedule",
    "unfollow",
    "unmute",
]

if TYPE_CHECKING:
    from .api import aemit as aemit
    from .api import afollow as afollow
    from .api import amute as amute
    from .api import apush as apush
    from .api import aschedule as aschedule
    from .api import aunfollow as aunfollow
    from .api import aunmute as aunmute
    from .api import emit as emit
    from .api import follow as follow
    from .api import mute as mute
    from .api import push as push
    from .api import schedule as schedule
    from .api import unfollow as unfollow
    from .api import unmute as unmute
    from .audiences import EVERYONE as EVERYONE
    from .audiences import Topic as Topic
    from .content import Action as Action
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import api, audiences, content

        places = {"EVERYONE": audiences, "Topic": audiences, "Action": content}
        return getattr(places.get(name, api), name)

    def __dir__() -> list[str]:
        return sorted([*globals(), *__all__])
