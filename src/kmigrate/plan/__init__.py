"""The plan room turns facts about both clusters into what will be done, why, and what it costs.  (pure)

`facts` are what was seen, `estimates` what follows from samples, `classes` which offset class every partition gets,
`notices` what may surprise, `document` the whole plan with its JSON form.
"""
