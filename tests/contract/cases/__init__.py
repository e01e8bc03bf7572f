"""One module for each task: what the contract suite has to know of it."""
