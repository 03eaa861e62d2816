"""A compiled and measured step as one page for people. Reads what OUT holds; what is not there, `tdco.cli` makes.

`load` is light; `page` imports plotly.
"""
