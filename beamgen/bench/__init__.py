"""Our files against whatever else runs the same search, timed and their tokens compared.

It may import everything up to ``formats``; each contestant is one file in ``contestants``
and imports its library inside functions.
"""
