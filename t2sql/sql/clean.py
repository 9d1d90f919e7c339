"""From raw model text to one SQL statement.

Models wrap SQL in code fences, prose, labels, control tokens and comments. `clean_sql` finds
where the statement starts, reads it token by token so that literals stay as they are, and
stops where it ends. It repairs nothing inside the statement: wrong SQL stays wrong.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from t2sql.sql.tokens import Token, is_query, tokenize

_OPENER = re.compile(
    r"\b(?:select|with|(?-i:VALUES|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|PRAGMA|ATTACH"
    r"|DETACH|VACUUM|REINDEX|ANALYZE|EXPLAIN|BEGIN|COMMIT))\b",
    re.IGNORECASE,
)
# What stands before a statement: nothing on its line, a label, a prompt, a fence or a quote.
_ANCHOR = re.compile(r"(?:^|[:>`\"'*.|\]{]|```\w{0,20})\s*\(?\s*\Z")
# First words of statements that are no queries, in SQLite and elsewhere.
_WRITES = frozenset(("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "TRUNCATE"))
_WRITES |= frozenset(("CREATE", "DROP", "ALTER", "VACUUM", "REINDEX", "ANALYZE"))
_OTHERS = """
    PRAGMA ATTACH DETACH EXPLAIN BEGIN COMMIT END ROLLBACK SAVEPOINT RELEASE SHOW DESCRIBE DESC SET
    USE GRANT REVOKE CALL EXEC EXECUTE
"""
_STATEMENTS = frozenset(_OTHERS.split())
# Bounds that keep hostile text cheap: starts that are tried, tokens read to judge one.
_MAX_CANDIDATES = 50
_HEAD = 100
_MAX_LINE = 400

# The words of a query that are no names; other keywords may stand where a name does.
_CLAUSE_WORDS = """
    SELECT DISTINCT ALL FROM JOIN NATURAL LEFT RIGHT FULL OUTER INNER CROSS ON USING WHERE GROUP
    BY HAVING ORDER LIMIT OFFSET UNION INTERSECT EXCEPT AS AND OR NOT IN LIKE GLOB REGEXP MATCH
    BETWEEN IS EXISTS CASE WHEN THEN ELSE CAST COLLATE ESCAPE WITH RECURSIVE MATERIALIZED VALUES
    OVER PARTITION FILTER WINDOW ROWS RANGE GROUPS UNBOUNDED PRECEDING FOLLOWING CURRENT ROW
    NULLS INDEXED SET INTO TABLE
"""
_OPERAND_WORDS = "ASC DESC END NULL ISNULL NOTNULL FIRST LAST"
_CLAUSES = frozenset(_CLAUSE_WORDS.split())
_KEYWORDS = _CLAUSES.union(_OPERAND_WORDS.split())
_BLOCK_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
# LaTeX ends an environment or a formula so; no SQL has a backslash outside of quotes.
_LATEX = ("\\end{", "\\begin{", "\\]", "\\)")
# Ends of sentences in Chinese and Japanese.
_FULL_STOPS = frozenset("。！？；")
# What stands right before a statement -> what ends it; `{` is LaTeX's, as in \\boxed{...}.
_WRAPPERS = {"`": "`", '"': '"', "'": "'", "{": "}"}
# Query #1 is no comment, nor is ## a heading one.
_COMMENTED = re.compile(r"--|(?:^|\s)#\s")
_ENDS_IN_COMMENT = re.compile("```|<(?:end_of_turn|eos)>")


class _Candidate(NamedTuple):
    """A place where a statement may start.

    Attributes:
      start: offset in the text.
      wrapper: the quote or bracket that ends it, for one stands right before it; or "".
      anchored: whether it opens a line or follows a label, a prompt or a fence.
    """

    start: int
    wrapper: str
    anchored: bool


def clean_sql(text: str) -> str:
    """Returns the first SQL statement in `text` on one line, or "" where there is none.

    Outside of literals, comments go, white space becomes one space, curly quotes become
    straight ones and a trailing semicolon goes. A clean query keeps all of its tokens.

    Args:
      text: what the model wrote, control tokens, fences and prose included.
    """
    candidates = list(itertools.islice(_candidates(text), _MAX_CANDIDATES))
    anchored = [candidate for candidate in candidates if candidate.anchored]
    plausible = (c for c in anchored or candidates if _reads_as_sql(text, c))
    chosen = next(plausible, anchored[0] if anchored else None)
    return "" if chosen is None else _joined(_without_prose(list(_statement(text, chosen))))


def why_no_query(sql: str) -> str:
    """What a statement is that is no query, such as "no query: DELETE ..."; "" for others.

    `WITH x AS (...) DELETE FROM t` is none either.
    """
    significant = (token for token in tokenize(sql) if token.kind not in ("space", "comment"))
    words = [token.upper for token in itertools.islice(significant, _MAX_LINE)]
    statement = words[0] if words else ""
    if statement == "WITH":
        statement = _after_with(words)
    if statement in _WRITES:
        return f"no query: {statement} changes the database, and is not run"
    # Prose about a query may begin with Use or Show.
    if statement in _STATEMENTS and not is_query(clean_sql(sql)):
        return f"no query: {statement} asks for no rows of the database"
    return ""


def _after_with(words: Sequence[str]) -> str:
    """What the statement does behind the definitions of WITH."""
    depth = 0
    for word in words:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and (word in ("SELECT", "VALUES") or word in _WRITES):
            return word
    return ""


def _candidates(text: str) -> Iterator[_Candidate]:
    # Same length, so that offsets hold; what a comment says opens no statement.
    text = _BLOCK_COMMENT.sub(lambda match: " " * len(match.group()), text)
    for match in _OPENER.finditer(text):
        start = match.start()
        before = text[text.rfind("\n", 0, start) + 1 : start]
        if _COMMENTED.search(before):
            continue
        wrapper = "{" if before.endswith("{ ") else before[-1:]
        if before.strip() == "(":
            start -= len(before) - before.index("(")
        yield _Candidate(start, _WRAPPERS.get(wrapper, ""), bool(_ANCHOR.search(before[-200:])))


def _reads_as_sql(text: str, candidate: _Candidate) -> bool:
    """Whether the words at `candidate` are a query and not a sentence about one."""
    head = [token for _, token in itertools.islice(_statement(text, candidate), _HEAD)]
    words = [token.upper for token in head]
    if not candidate.anchored:
        return "FROM" in words and not _is_prose(head)
    if words[0] == "WITH":
        return "AS" in words[2:5] or "(" in words[2:3]
    return head[0].text.isupper() or not _is_prose(head)


def _statement(text: str, candidate: _Candidate) -> Iterator[tuple[str, Token]]:
    """Yields the statement's tokens, each after the white space before it, which may be ""."""
    depth, selecting, previous = 0, False, None
    for space, token in _significant(text, candidate.start):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0 or _is_end(text, token, candidate.wrapper):
            return
        if depth == 0 and previous and _is_operand(previous):
            if selecting and token.upper == "SELECT":
                return
            if "\n#" in space and token.upper not in _CLAUSES:
                return  # a heading, and what follows it
            if "\n" in space and _starts_prose(text, token, after_blank=space.count("\n") > 1):
                return
        selecting |= depth == 0 and token.upper == "SELECT"
        yield space, token
        previous = token


def _significant(text: str, start: int) -> Iterator[tuple[str, Token]]:
    """Yields the tokens that mean something, each with the white space before it.

    A comment that starts with `#`, which may be a heading, leaves its mark in the white space.
    """
    space = ""
    for token in tokenize(text, start, hash_comments=True):
        if token.kind == "space":
            space += token.text
        elif token.kind == "comment":
            if _ENDS_IN_COMMENT.search(token.text) or token.text.startswith("##"):
                return
            space += "#" if token.text[0] == "#" else " "
        else:
            yield space, token
            space = ""


def _is_end(text: str, token: Token, wrapper: str) -> bool:
    if token.kind in ("fence", "control") or token.text == ";" or token.text in _FULL_STOPS:
        return True
    if text.startswith(_LATEX, token.start):
        return True
    closes = token.kind == "other" and token.text == wrapper
    if wrapper == "`" and token.text.startswith("`"):
        # A name quoted in backticks is followed by its first letter, the wrapper's end is not.
        return closes or not re.match(r"\w", text[token.start + 1 : token.start + 2])
    return closes


def _is_operand(token: Token) -> bool:
    """Whether an expression, a table or a sort term may end with `token`."""
    if token.kind == "word":
        return token.upper not in _CLAUSES
    return token.kind in ("string", "name", "number") or token.text == ")"


def _starts_prose(text: str, token: Token, *, after_blank: bool) -> bool:
    """Whether `token`, first on its line and after a complete operand, begins prose.

    SQL never has three plain words in a row here, nor a number or a label.
    """
    if token.kind == "number" or text.startswith("**", token.start):
        return True
    end = text.find("\n", token.start)
    line = text[token.start : end if end >= 0 else len(text)][:_MAX_LINE]
    tokens = [part for part in tokenize(line) if part.kind != "space"]
    if token.upper in _CLAUSES and (token.text.isupper() or not after_blank):
        return False
    if token.kind != "word":
        return token.text in ("-", "*", ">") and _is_prose(tokens)
    label = len(tokens) > 1 and tokens[1].text in (":", "!", "?")
    return label or _is_sentence(tokens) or _is_prose(tokens)


def _without_prose(statement: list[tuple[str, Token]]) -> list[tuple[str, Token]]:
    """The statement up to where a complete query goes on as a sentence.

    An alias is one word. Where a clause in capitals follows it is wrong SQL, and stays.
    """
    tokens = [token for _, token in statement]
    last_clause = max(
        (i for i, token in enumerate(tokens) if token.upper in _CLAUSES and token.text.isupper()),
        default=0,
    )
    depth, selecting = 0, False
    for i, token in enumerate(tokens):
        if i > last_clause and depth == 0 and selecting and _is_operand(tokens[i - 1]):
            spaces = [space for space, _ in statement[i : i + 2]]
            is_stop = token.text == "." and len(spaces) == 2 and spaces[1] and not spaces[0]
            if _is_remark(tokens, i + bool(is_stop)):
                return statement[:i]
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        selecting |= token.upper == "SELECT"
    return statement


def _is_remark(tokens: Sequence[Token], start: int) -> bool:
    """Whether the tokens from `start` on, after a complete query, begin as a sentence does."""
    head = tokens[start : start + 3]
    if not _is_prose(head[:1], 1):
        return False
    label = len(head) > 1 and head[1].text in (":", "!")
    return label or _is_prose(head) or (_is_sentence(tokens) and _is_prose(head[:2], 2))


def _is_sentence(tokens: Sequence[Token]) -> bool:
    """Whether a line ends as a sentence does."""
    return len(tokens) > 1 and tokens[-1].text.endswith((".", "!", "?", ":"))


def _is_prose(tokens: Sequence[Token], words: int = 3) -> bool:
    """Whether so many plain words stand in a row."""
    plain = [token.kind == "word" and token.upper not in _KEYWORDS for token in tokens]
    return any(all(plain[i : i + words]) for i in range(len(plain) - words + 1))


def _joined(tokens: list[tuple[str, Token]]) -> str:
    texts = [token.text for _, token in tokens]
    while texts[-1:] == ["."] or texts[-2:] == ["*", "*"]:
        # The end of a sentence around the statement, or of bold type.
        texts = texts[: -1 if texts[-1] == "." else -2]
    parts = []
    for space, token in tokens[: len(texts)]:
        # Two literals that touch, once curly, would read as one with a quote inside.
        touching = parts and parts[-1][-1] == token.text[0] and token.text[0] in "'\""
        parts.append(" " + token.text if space or touching else token.text)
    return "".join(parts).strip()
