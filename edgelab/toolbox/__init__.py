"""What takes several rooms at once: a network in, and out come a smaller one, its file, and a report of both.

Each module stands alone and loads its frameworks when it is imported.
"""
