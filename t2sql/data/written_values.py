"""Values as people write them: cats for `cat`, French for `France`, female for `F`.

`values.ValueIndex` finds the values whose words stand in a question. Here those are found that
stand there in another form. Each way is a function of what the database holds and of kept lists:

    inflected     cats: `cat`; professors: `Professor`
    places        French: `France`; the United States: `USA`; California: `CA`
    run together  North Carolina: `NorthCarolina`, and the other way round
    one letter    "Gorgia" for `Georgia`, in quotes or with a capital letter
    sexes         female students: `F` in a column of `F` and `M`
    flags         on scholarship: `Y` in the column `OnScholarship` of `Y` and `N`
    short values  grade 4, the fourth grade, a grade of C: `4` and `C` stored as text in `grade`
"""

import collections
import re
from collections.abc import Iterable, Iterator

from t2sql.data import place_names
from t2sql.data.schema import ColumnRef, Schema
from t2sql.data.values import ColumnValue, ValueIndex, words_of

# A value in another form has to be short: long ones are texts.
_MAX_WORDS = 4
_LEAST_INFLECTED = 3  # letters of a word without its ending
_LEAST_JOINED = 6  # letters of a value run together
# Letters of a value that is off by one, and values of its column: each takes an entry a letter.
_LEAST_MISSPELT, _MOST_MISSPELT = 5, 30
_MAX_MISSPELT_VALUES = 5000
_MAX_FLAG_VALUES = 4
_MAX_COLUMNS = 2  # that a value in another form is given for
_SEXES = {
    "f": {"female", "females", "woman", "women", "girl", "girls", "lady", "ladies"},
    "m": {"male", "males", "man", "men", "boy", "boys", "gentleman", "gentlemen"},
}
_SEXES |= {"female": _SEXES["f"], "male": _SEXES["m"]}
_YES, _NO = ("yes", "y", "true", "t"), ("no", "n", "false", "f")
_NEGATIONS = {"no", "not", "non", "without", "never", "neither", "nor", "t"}  # don't: don, t
# Words of a column's name that say nothing of what it holds.
_IDLE_WORDS = """
a an and are by flag for had has have if in is of on or the to was yn
"""
_IDLE = frozenset(_IDLE_WORDS.split())
_ORDINAL_WORDS = """
first second third fourth fifth sixth seventh eighth ninth tenth
"""
_ORDINALS = {word: str(number) for number, word in enumerate(_ORDINAL_WORDS.split(), start=1)}
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_LETTER = re.compile(r"\b[B-HJ-Z]\b")
# With these a question asks for a flag itself.
_ASKS_FOR_IT = frozenset(["status", "statuses", "whether", "value", "values", "flag", "each"])
_NUMBER = re.compile(r"(\d+)(?:st|nd|rd|th)?")
_QUOTED_OR_NAME = re.compile(r"[\"“'‘]([^\"”'’]{3,60})[\"”'’]|\b((?:[A-Z][\w.'-]+ ?){1,4})")


class WrittenValues:
    """Finds the values that a question names, in any form.

    Args:
      schema: whose tables and columns may be mentioned too.
      values: of each column, as `values.read_values` returns them.
    """

    def __init__(self, schema: Schema, values: dict[ColumnRef, list[str]]):
        self._exact = ValueIndex(values)
        self._values = values
        self._mentions = {ref: _stems(_name_words(ref.column)) for ref in values}
        self._of_tables = {table.name: _stems(_name_words(table.name)) for table in schema.tables}
        self._schema_stems = frozenset().union(*self._mentions.values(), *self._of_tables.values())
        self._by_stems: dict[tuple[str, ...], list[ColumnValue]] = collections.defaultdict(list)
        self._joined: dict[str, list[ColumnValue]] = collections.defaultdict(list)
        self._by_deletion: dict[str, list[ColumnValue]] = collections.defaultdict(list)
        self._flags: dict[ColumnRef, list[str]] = {}
        self._short: dict[ColumnRef, dict[str, str]] = collections.defaultdict(dict)
        for ref, column_values in values.items():
            self._add(ref, column_values)

    def _add(self, ref: ColumnRef, column_values: list[str]) -> None:
        if 0 < len(column_values) <= _MAX_FLAG_VALUES:
            self._flags[ref] = column_values
        for value in column_values:
            words, match = words_of(value), ColumnValue(ref, value)
            if len(words) == 1 and (value.strip().isdigit() or len(words[0]) == 1):
                self._short[ref][words[0]] = value
            if not 0 < len(words) <= _MAX_WORDS or not words[0][0].isalpha():
                continue
            self._by_stems[tuple(map(stem, words))].append(match)
            joined = "".join(words)
            if len(joined) >= _LEAST_JOINED:
                self._joined[joined].append(match)
            few = len(column_values) <= _MAX_MISSPELT_VALUES
            if few and _LEAST_MISSPELT <= len(joined) <= _MOST_MISSPELT:
                for key in _deletions(joined):
                    self._by_deletion[key].append(match)

    def find(self, question: str) -> list[list[ColumnValue]]:
        """The columns of each value that is named, the likeliest column first.

        What stands in the question as it is stored comes first, the longest value first.
        """
        words = words_of(question)
        stems = frozenset(map(stem, words))
        exact = self._exact.find(question)
        taken = {place for match in exact for place in _places(words, words_of(match[0].value))}
        others = [*self._in_other_forms(question, words, taken)]
        others += self._named_by_columns(question, words, stems)
        known = {match for matches in exact for match in matches}
        matches = [*exact]
        for candidates in others:
            new = [match for match in dict.fromkeys(candidates) if match not in known]
            known.update(new)
            if new:
                matches.append(self._likeliest(new, stems))
        return [self._likeliest_first(match, stems) for match in matches]

    def _likeliest_first(
        self, matches: list[ColumnValue], stems: frozenset[str]
    ) -> list[ColumnValue]:
        """Columns whose name, then whose table, the question mentions come first."""

        return sorted(matches, key=lambda match: self._mentioned(match, stems), reverse=True)

    def _likeliest(self, matches: list[ColumnValue], stems: frozenset[str]) -> list[ColumnValue]:
        """The columns that the question mentions as much as any other, two at most."""
        ordered = self._likeliest_first(matches, stems)
        best = self._mentioned(ordered[0], stems)
        ordered = [match for match in ordered if self._mentioned(match, stems) == best]
        return ordered[:_MAX_COLUMNS]

    def _mentioned(self, match: ColumnValue, stems: frozenset[str]) -> tuple[int, int]:
        """How many words of a value's column, and of its table, a question has."""
        column, table = self._mentions[match.column], self._of_tables[match.column.table]
        return len(column & stems), len(table & stems)

    def _in_other_forms(
        self, question: str, words: tuple[str, ...], taken: set[int]
    ) -> Iterator[list[ColumnValue]]:
        """Values whose words stand in the question in another form; the longest first."""
        for size in range(min(len(words), _MAX_WORDS), 0, -1):
            for start in range(len(words) - size + 1):
                places = range(start, start + size)
                if not taken.isdisjoint(places):
                    continue
                span = words[start : start + size]
                matches = self._of_span(span, question)
                if matches:
                    taken.update(places)
                    yield matches
        for text in _names_in(question):
            span = words_of(text)
            if taken.isdisjoint(_places(words, span)):
                matches = self._misspelt(span)
                if matches:
                    taken.update(_places(words, span))
                    yield matches

    def _of_span(self, span: tuple[str, ...], question: str) -> list[ColumnValue]:
        stems = tuple(map(stem, span))
        matches: list[ColumnValue] = []
        is_inflected = len("".join(stems)) >= _LEAST_INFLECTED and stems != span
        if not self._schema_stems.issuperset(stems):
            if is_inflected:
                inflected = self._by_stems.get(stems, ())
                matches += [match for match in inflected if not _is_code(match.value)]
            matches += self._joined.get("".join(span), ())
        for name in place_names.other_names(span, question):
            exact = self._by_stems.get(tuple(map(stem, name)), ())
            matches += [match for match in exact if words_of(match.value) == name]
        return matches

    def _misspelt(self, span: tuple[str, ...]) -> list[ColumnValue]:
        """Values that one letter more, less or other makes of a name."""
        joined = "".join(span)
        if len(joined) < _LEAST_MISSPELT or self._schema_stems.issuperset(map(stem, span)):
            return []
        close = {
            match: None
            for key in _deletions(joined)
            for match in self._by_deletion.get(key, ())
            if _is_one_edit(joined, "".join(words_of(match.value)))
        }
        return [*close]

    def _named_by_columns(
        self, question: str, words: tuple[str, ...], stems: frozenset[str]
    ) -> Iterator[list[ColumnValue]]:
        """Values that only their column gives a meaning: sexes, flags, and short ones."""
        sexes: dict[str, list[ColumnValue]] = collections.defaultdict(list)
        for ref, column_values in self._flags.items():
            by_case = {value.strip().casefold(): value for value in column_values}
            if by_case.keys() & {"f", "female"} and by_case.keys() & {"m", "male"}:
                for name, value in by_case.items():
                    if not _SEXES.get(name, set()).isdisjoint(words):
                        sexes[name[0]].append(ColumnValue(ref, value))
            elif by_case.keys() <= {*_YES, *_NO} and self._is_mentioned(ref, words):
                answers = _NO if not _NEGATIONS.isdisjoint(words) else _YES
                yield [ColumnValue(ref, by_case[name]) for name in answers if name in by_case]
        if len(sexes) == 1:  # both are rather counted by sex
            yield from sexes.values()
        beside = _beside(words)
        letters = {letter.casefold() for letter in _LETTER.findall(question)}
        for ref, by_words in self._short.items():
            for word, value in by_words.items():
                near = beside.get(word, frozenset()) & self._mentions[ref]
                is_letter = word in letters and self._mentions[ref] & stems
                if (near or is_letter) and "id" not in self._mentions[ref]:
                    yield [ColumnValue(ref, value)]

    def _is_mentioned(self, ref: ColumnRef, words: tuple[str, ...]) -> bool:
        """Whether a question has all words of a column's name, or the beginnings of them."""
        name = [word for word in _name_words(ref.column) if word not in _IDLE]
        if not name or not _ASKS_FOR_IT.isdisjoint(words):
            return False
        return all(
            any(word[:5] == other[:5] or stem(word) == stem(other) for other in words)
            for word in name
        )


def stem(word: str) -> str:
    """An English word without the ending of its plural."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _is_code(value: str) -> bool:
    """Whether a value is short and in capitals: "RUN" is no form of "runs"."""
    return len(value) <= 4 and value.isupper()


def _stems(words: Iterable[str]) -> frozenset[str]:
    return frozenset(stem(word) for word in words if word not in _IDLE)


def _name_words(name: str) -> list[str]:
    """The words of a table's or column's name: "OnScholarship" and "on_scholarship" are two."""
    return [word.casefold() for word in _NAME_WORD.findall(name)]


def _places(words: tuple[str, ...], span: tuple[str, ...]) -> set[int]:
    """Where a span stands in a question."""
    starts = range(len(words) - len(span) + 1)
    return {
        place
        for start in starts
        if words[start : start + len(span)] == span
        for place in range(start, start + len(span))
    }


def _names_in(question: str) -> list[str]:
    """What stands in quotes, and names: words with a capital letter, but for the first word."""
    first = len(question) - len(question.lstrip())
    matches = _QUOTED_OR_NAME.finditer(question)
    return [match[1] or match[2] for match in matches if match[1] or match.start() > first]


def _beside(words: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """The small numbers of a question, in figures, with the stems of the words beside them.

    A number before a plural counts things: "2 orders".
    """
    beside = {}
    for place, word in enumerate(words):
        match = _NUMBER.fullmatch(word)
        number = match[1] if match else _ORDINALS.get(word)
        after = words[place + 1 : place + 2]
        is_count = any(stem(noun) != noun for noun in after)
        if number is not None and len(number) < 3 and not is_count:
            beside[number] = frozenset(map(stem, (*words[max(place - 1, 0) : place], *after)))
    return beside


def _deletions(word: str) -> set[str]:
    """The word, and what is left of it without one letter (as SymSpell, Garbe 2012)."""
    return {word} | {word[:place] + word[place + 1 :] for place in range(len(word))}


def _is_one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less or other, or two exchanged, make one word of the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
    rest, of_other = one[start:], other[start:]
    return (
        rest[1:] == of_other[1:]
        or rest[1:] == of_other
        or rest == of_other[1:]
        or (rest[1::-1] == of_other[:2] and rest[2:] == of_other[2:])
    )
