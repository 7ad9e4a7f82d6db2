"""Where records lie on the other side: runs, the offset map, translation both ways.  (pure)"""
