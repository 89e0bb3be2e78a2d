"""The conformance suite: it judges any backend by the reference, op by op, case by case.

>>> from tinyml.conformance.suite.run import run
>>> run("ops", "cpu", only="add/float32/same").ok
True
"""
