"""The servers that are measured, and the load: each module here is a process of its own.

A server listens on a free port of 127.0.0.1, prints it, a line, and runs until it is stopped. Each
answers `GET /hello` with `hello`, anything else with 404, or echoes. None writes a log.
"""
