"""Text tables in common formats: comma, semicolon or tab, UTF-8 or UTF-16, headers in any case."""

from __future__ import annotations

from fakemedia.core.errors import UserError

DELIMITERS = (",", ";", "\t", "|")


def decoded(data: bytes, where: object) -> str:
    """Return the text of a file of the bytes `data`, in UTF-8 or, with a byte order mark, UTF-16.

    UserError, about the file `where`, if it is not text.
    """
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        if not text or "\0" in text or "\ufeff" in text:
            raise UnicodeError("it is no text" if text else "it is empty")
        return text.partition("\n")[2] if text.lower().startswith("sep=") else text  # Excel's note of the delimiter.
    except UnicodeError as error:
        raise UserError(f"The table cannot be read: {error}", where=where, expected="text in UTF-8 or UTF-16",
                        do="save it as CSV in UTF-8") from None


def header_of(text: str, required: tuple[str, ...], where: object) -> tuple[str, list[str]]:
    """Return the delimiter of a table and the names of its columns, in lower case.

    UserError that names the columns, unless the first line has the `required` ones, separated by one of DELIMITERS.
    """
    line = next(iter(text.splitlines()), "")
    columns = {delimiter: [name.strip().strip('"').lower() for name in line.split(delimiter)]
               for delimiter in DELIMITERS}
    match = next((delimiter for delimiter, names in columns.items() if set(required) <= set(names)), None)
    if match is not None:
        return match, columns[match]
    names = max(columns.values(), key=len)
    missing = [name for name in required if name not in names]
    raise UserError(f"The table lacks the column {missing[0]}; its columns are {', '.join(names) or 'none'}",
                    where=where, expected=f"the columns {' and '.join(required)} in the first line, separated by "
                                          "comma, semicolon or tab", do="see docs/how-to/own-data.md")
