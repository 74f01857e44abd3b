"""How fast a cancellation arrives, and what trioctx costs: ``python -m benchmarks``.

What is measured is listed in ``cases`` (in a loop) and in ``races`` (servers). ``sides`` holds each
case's work, done with trioctx, bare Trio, AnyIO, asyncio and Go; a ``worker`` runs the sides of one
event loop, and the ``driver`` asks all workers in turn. ``run`` makes a run of that, ``stored`` its
figures; ``tables``, ``plots`` and ``page`` show those.
"""
