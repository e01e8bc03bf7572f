"""Sound: how long a file is, what is in it, where it may be cut, and its pieces as bytes.

Takes paths and sample times, hands on durations, tracks, spans and encoded pieces. Knows nothing of records, requests
or models. PyAV and webrtcvad (extra `audio`) are imported where they are used.
"""

from pipeline.audio.cut import Rules, Span, cut, quietest
from pipeline.audio.encode import encode
from pipeline.audio.extra import need_extra
from pipeline.audio.listen import Track, listen
from pipeline.audio.probe import duration_of

__all__ = ["Rules", "Span", "Track", "cut", "duration_of", "encode", "listen", "need_extra", "quietest"]
