"""What every part of Gateline stands on: errors, time, ids, canonical bytes, settings, files and the records database."""
