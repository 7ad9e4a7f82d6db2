"""The serve room holds any number of migrations: an owner process for each, started, watched and started again.

`machine` decides, `supervisor` does, `roster` keeps what is to be held, `exits` says how an owner ended, `document` how
all migrations of a state folder stand. What an owner may do, and that there is one, is the folder's and the lease's
affair: here nobody copies.
"""
