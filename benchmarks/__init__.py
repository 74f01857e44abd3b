"""What trioctx costs, as ratios to what one would write without it: ``python -m benchmarks``.

``measure`` takes interleaved samples of two sides and summarises them; ``cost`` and ``fanout`` hold
the comparisons; ``suite`` lists them all; ``report`` prints. A new comparison is a function in a
module of its subject that returns a ``Comparison``, and a line in ``suite``.
"""
