"""What crosses the wire, and nothing else: no I/O, no clock, no thread."""
