"""The chapters of the story, one file each; every one tells what it saw and leaves facts for those after it."""
