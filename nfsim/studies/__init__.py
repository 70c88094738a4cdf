"""Published experiments as named studies: what is run, the table of results, and what it says."""
