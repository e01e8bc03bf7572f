"""What the tests of tasks that look at pictures share."""

from hypothesis import strategies as st

from tests.support.drawing import picture


def gallery(folder):
    """Write some pictures; return their paths by name."""
    made = {
        "photo.jpg": picture(640, 480, "JPEG"),
        "drawing.png": picture(32, 32),
        "named-wrong.gif": picture(20, 50, "WEBP"),
        "wide.webp": picture(300, 10, "WEBP"),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in made}


def picture_records(folder):
    """Strategy of the fields of records that name a picture."""
    return st.sampled_from(sorted(gallery(folder).values())).map(lambda path: {"path": path})
