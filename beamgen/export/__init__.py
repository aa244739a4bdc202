"""The whole flow: a request is resolved, a graph is built, a package is written and proved.

Imports all that stands below; nothing below imports it.
"""
