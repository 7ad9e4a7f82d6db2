"""Leads the waves of a migration through their schemes: the shell around the pure room `schemes/`.

`waves` makes waves of a manifest; `book` keeps where each stands; `desk` takes the operator's commands; `leader` is the
thread that looks, decides and acts; `observing` gathers facts, `carrying` carries effects out; `document` is what
`cutover status` shows.
"""
