ENDS = ()
