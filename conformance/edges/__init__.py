"""The edge table: what every op gives at NaN, infinities, zeros, overflow and odd sizes.

`table.txt` holds the data and explains its own format. `table` reads it, `check` runs it on
devices, and `peers` puts the same calls to other frameworks. `docs/edges.md` is generated from all
of it.

>>> from tinyml.conformance.edges.check import check
>>> check("add", ("cpu",))
[]
"""
