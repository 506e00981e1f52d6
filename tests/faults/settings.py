"""The example site as the trials run it: many readers, and a channel layer that may lie."""

from __future__ import annotations

import os

from demo_site.settings import *  # noqa: F403

DEBUG = False

if os.environ.get("FAULTS_LAYER") == "unreliable":
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "tests.faults.layer.UnreliableLayer",
            "CONFIG": {"hosts": [{"address": os.environ["DEMO_REDIS_URL"]}]},
        }
    }
