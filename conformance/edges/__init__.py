"""The edge table: what every op gives at NaN, infinities, zeros, overflow and odd sizes.

`table.txt` is the data and its own guide; `table` reads it, `check` runs it on devices, `peers`
asks other frameworks the same. `docs/edges.md` is written from all of it.

>>> from tinyml.conformance.edges.check import check
>>> check("add", ("cpu",))
[]
"""
