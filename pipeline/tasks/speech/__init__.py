"""What `transcribe` makes of answers: reading them, doubting them, putting them together, subtitles. Pure."""
