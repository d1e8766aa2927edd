"""Documents in, frozen values out, or every problem with its place. Pure but for reading the files."""
