"""Live delivery: everything between the committed row and the reader's connection.

It knows the store and is not known by it; consumers and views know it.
"""
