"""Projects that `gristmill init --template` and the demo copy; plain files beside this one. Imports nothing."""
