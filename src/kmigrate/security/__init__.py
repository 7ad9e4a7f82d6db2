"""The security room owns who may do what on the target: rules (ACLs), quotas and SCRAM users.

`principals` renames, `acls`, `quotas` and `users` compare both clusters (all pure), `ask` reads them; what a cluster
does not tell is a value with the reason. The runner adds what is missing.
"""
