"""``multipart/form-data`` (RFC 7578): the same form is always the same bytes, so that every attempt sends the same."""

from __future__ import annotations

from hashlib import blake2b

from pipeline.records import Form, FormPart


def encode_form(form: Form) -> tuple[bytes, str]:
    """Return the body and its content type."""
    state = blake2b(digest_size=16)
    for part in form.parts:
        state.update(part.content)
    boundary = f"wai-{state.hexdigest()}"
    lines: list[bytes] = []
    for part in form.parts:
        lines += [f"--{boundary}".encode(), *_head(part), b"", part.content]
    lines += [f"--{boundary}--".encode(), b""]
    return b"\r\n".join(lines), f"multipart/form-data; boundary={boundary}"


def _head(part: FormPart) -> list[bytes]:
    disposition = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        disposition += f'; filename="{_quoted(part.filename)}"'
    head = [disposition.encode()]
    if part.mime is not None:
        head.append(f"Content-Type: {part.mime}".encode())
    return head


def _quoted(name: str) -> str:
    """Escape what would end the quotes or the line, as browsers do (WHATWG: multipart/form-data encoding)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
