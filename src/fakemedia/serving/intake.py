"""Reads the pictures of a multipart request into memory, within bounds of bytes, pictures and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from fakemedia.serving.refusal import Refused
from fakemedia.serving.serving_config import ServingConfig

MAX_SOURCE_CHARACTERS = 100
"""Longest name of a source, characters."""


class _InMemory(MultiPartParser):
    """A parser that never writes a file to the disk: the whole request is bounded."""

    spool_max_size = 2**62


async def read_request(request: Request, config: ServingConfig) -> tuple[list[tuple[str, bytes]], str]:
    """Return name and bytes of each picture, and the source that the client names.

    Pictures are the files of a multipart form, under any field name; the source is its field `source`, or the header
    `X-Source`. Refused with 408, 413, 415 or 422.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(415, "Send the pictures as files of a multipart form, such as: curl -F picture=@photo.jpg URL.")
    try:
        async with asyncio.timeout(config.seconds):
            form = await _InMemory(request.headers, _bounded(request, config.max_bytes),
                                   max_files=config.max_pictures, max_fields=10, max_part_size=10_000).parse()
    except TimeoutError:
        raise Refused(408, f"The request was not complete after {config.seconds:g} seconds. Send it again.") from None
    except ClientDisconnect:
        raise Refused(422, "The client went away before the request was complete.") from None
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise Refused(413, f"A request has at most {config.max_pictures} pictures. Send several.") from None
        raise Refused(422, f"The multipart form cannot be read: {error.message}") from None
    except (KeyError, ValueError, TypeError, UnicodeError, AssertionError) as error:
        raise Refused(422, f"The multipart form cannot be read: {type(error).__name__}.") from None
    pictures, source = [], request.headers.get("x-source", "")
    for field, value in form.multi_items():
        if isinstance(value, UploadFile):
            pictures.append((value.filename or field, await value.read()))
        elif field == "source":
            source = value
    if not pictures:
        raise Refused(422, "The form has no file. Send at least one picture, such as: curl -F picture=@photo.jpg URL.")
    return pictures, "".join(character for character in source if character.isprintable())[:MAX_SOURCE_CHARACTERS]


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body; Refused with 413 once it has, or declares, more than `max_bytes` bytes."""
    refused = Refused(413, f"The request has more than {max_bytes} bytes. Send fewer or smaller pictures.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise refused
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise refused
        yield chunk
