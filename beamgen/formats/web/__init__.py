"""A static folder for any web server: the search runs in the reader's browser, and is shown.

Imports ``runtime`` and what lies below it; what the page is shipped with comes from npm.
"""
