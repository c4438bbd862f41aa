"""Installed plugins: discovered, validated, sanitized, and configured as backend instances.

registry.py   discover plugins by entry point and call their hooks; checks of what a plugin provides and returns
sanitize.py   clean texts, errors and results that come from a plugin
instances.py  backend instances: a plugin with settings, credentials and a service; names that do not exist
"""
