"""`python-source`: the characters of CPython's standard library, each with the kind of token that it is part of."""

from __future__ import annotations

import io
import keyword
import sysconfig
import tokenize
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from throughtime.data.records import Records

KINDS = ("comment", "string", "name", "keyword", "op", "number", "space")
_COMMENT, _STRING, _NAME, _KEYWORD, _OP, _NUMBER, _SPACE = range(len(KINDS))
_KIND_OF_TYPE = {
    tokenize.COMMENT: _COMMENT,
    tokenize.STRING: _STRING,
    tokenize.OP: _OP,
    tokenize.NUMBER: _NUMBER,
}
# Token types that Python 3.12 (f-strings) and 3.14 (t-strings) brought.
_FSTRING_STARTS = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_FSTRING_ENDS = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}

# Files of the standard library, none of them longer than about 60,000 characters, so that lanes stay balanced.
TRAIN = (
    "abc.py _collections_abc.py ast.py asyncio/base_subprocess.py asyncio/events.py asyncio/locks.py asyncio/queues.py "
    "asyncio/streams.py asyncio/tasks.py base64.py bdb.py bisect.py calendar.py cmd.py code.py codecs.py "
    "collections/__init__.py compileall.py concurrent/futures/_base.py concurrent/futures/process.py contextlib.py copy.py "
    "csv.py dataclasses.py dis.py email/feedparser.py email/generator.py email/message.py email/utils.py filecmp.py "
    "fileinput.py fractions.py ftplib.py functools.py gettext.py glob.py gzip.py hashlib.py hmac.py html/parser.py "
    "http/client.py http/cookies.py imaplib.py importlib/_bootstrap.py json/decoder.py json/encoder.py linecache.py "
    "logging/config.py logging/handlers.py mimetypes.py modulefinder.py multiprocessing/connection.py "
    "multiprocessing/managers.py multiprocessing/pool.py netrc.py ntpath.py numbers.py os.py pdb.py pickle.py pkgutil.py "
    "plistlib.py pprint.py profile.py pstats.py queue.py random.py re/_compiler.py sched.py secrets.py smtplib.py "
    "socketserver.py statistics.py string.py tempfile.py threading.py timeit.py tokenize.py trace.py tracemalloc.py types.py "
    "unittest/case.py urllib/parse.py uuid.py warnings.py weakref.py xml/dom/expatbuilder.py xmlrpc/client.py zipimport.py"
).split()
VALID = "cProfile.py configparser.py heapq.py multiprocessing/util.py re/_parser.py selectors.py wave.py webbrowser.py".split()
TEST = "http/server.py importlib/util.py operator.py platform.py shlex.py shutil.py textwrap.py traceback.py".split()


def python_source(
    train: Sequence[str] = TRAIN, valid: Sequence[str] = VALID, test: Sequence[str] = TEST
) -> dict[str, Records]:
    """Characters of Python source, each to be tagged with the kind of its token (see `label_text`).

    A sequence is a file, whole: whether a character is inside a docstring shows many lines earlier. The text is that of
    the running Python's own standard library and so depends a little on its version.

    Args:
        train, valid, test: files, relative to the folder of the standard library; those that it lacks are skipped.

    Raises:
        DataError: a part of which no file is there.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    parts = {}
    for part, files in (("train", train), ("valid", valid), ("test", test)):
        texts = _read(folder, files)
        kinds = [[KINDS[kind] for kind in label_text(text).tolist()] for text in texts.values()]
        places = [str(folder / name) for name in texts]
        parts[part] = Records(f"{folder}: {part}", "tag", [*texts.values()], kinds, [*texts], places, outputs=KINDS)
    return parts


def label_text(text: str) -> np.ndarray:
    """The kind of each character of Python source, as its index in `KINDS`: int64 [T].

    Kinds are those of the module `tokenize`. Line ends, indentation and all else between tokens are "space"; soft
    keywords (`match`) are "name", as they are to `tokenize`. Before Python 3.12 an f-string is one token, a "string"; since
    then the tokens of the expressions inside it have kinds of their own, and everything else in it is "string".

    Raises:
        ValueError: the text is not Python source; tells the line.
    """
    begins = [0]
    for line in text.split("\n"):
        begins.append(begins[-1] + len(line) + 1)
    kinds = bytearray([_SPACE]) * len(text)
    fstrings: list[int] = []
    tokens: list[tuple[int, int, int]] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            begin, end = begins[token.start[0] - 1] + token.start[1], begins[token.end[0] - 1] + token.end[1]
            if token.type in _FSTRING_STARTS:
                fstrings.append(begin)
            elif token.type in _FSTRING_ENDS:
                begin = fstrings.pop()
                kinds[begin:end] = bytes([_STRING]) * (end - begin)
            elif token.type == tokenize.NAME:
                tokens.append((begin, end, _KEYWORD if keyword.iskeyword(token.string) else _NAME))
            elif _stray(token):
                raise ValueError(f"text, line {token.start[0]}: expected Python source, found {token.string!r}")
            elif token.type in _KIND_OF_TYPE:
                tokens.append((begin, end, _KIND_OF_TYPE[token.type]))
    except (tokenize.TokenError, SyntaxError) as error:
        reason, line = _explain(error)
        raise ValueError(f"text, line {line}: expected Python source, found: {reason}") from None
    for begin, end, kind in tokens:
        kinds[begin:end] = bytes([kind]) * (end - begin)
    return np.frombuffer(kinds, np.uint8).astype(np.int64)


def _stray(token: tokenize.TokenInfo) -> bool:
    """Whether it is no token of Python, such as `$`: an error token before Python 3.12, an operator since."""
    if token.type == tokenize.OP:
        return token.string not in tokenize.EXACT_TOKEN_TYPES
    return token.type == tokenize.ERRORTOKEN and not token.string.isspace()


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, SyntaxError):
        return error.msg, error.lineno or 1
    return error.args[0], error.args[1][0]


def _read(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The text of each file that is there, by name."""
    texts = {}
    for name in names:
        if (folder / name).is_file():
            with tokenize.open(folder / name) as file:
                texts[name] = file.read()
    return texts
