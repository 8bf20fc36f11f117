"""What this machine does, and what it could do at best, measured in turns in the same run.

A rate by itself says little on a shared machine; its ratio to PostgreSQL's own limit does. One file a benchmark.
"""
