"""How a scan and its healthy version are compared: differences, structure, features; and how maps
are smoothed.
"""
