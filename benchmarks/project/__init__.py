"""The Django project that Raceway and Channels run; importing it names its settings."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.project.settings"
