"""The page of `touchstone board`: a tab for each thing that people do, over what the commands do."""
