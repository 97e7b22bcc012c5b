"""Files of other programs and of the first study, in and out; nothing in them is run."""
