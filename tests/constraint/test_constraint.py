"""What an answer within a schema may be, and that it can be ended."""

import gc
import weakref

import constraint_samples as samples
import pytest

from t2sql import constraint, errors
from t2sql.constraint import lexer
from t2sql.constraint.node import Node


@pytest.fixture(scope="module")
def vocabulary():
    return samples.dummy_vocabulary()


@pytest.fixture(scope="module")
def singers(vocabulary):
    return constraint.SchemaConstraint(vocabulary, samples.make_schema(samples.SINGERS))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM singer",
        "select Count(*) , T1.name from Singer as T1 Join concert T2 On T1.singer_id = t2.singer_id"
        " Where T2.year > 2014 Group By T1.name Having count(*) >= 2"
        " Order By count(*) Desc Limit 3",
        "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)",
        "SELECT name FROM singer EXCEPT SELECT T1.name FROM concert AS T1 WHERE T1.year = 2014",
        "SELECT * FROM stadium UNION SELECT * FROM stadium",
        "SELECT count(DISTINCT age) AS total FROM singer ORDER BY total",
        "SELECT count(*) FROM (SELECT name FROM singer GROUP BY name)",
        "SELECT name FROM (SELECT (name) FROM singer)",
        'SELECT "name" FROM [singer] WHERE `age` <> "x" AND name LIKE \'%ab%\';',
        "SELECT age FROM singer AS s WHERE s.name = 'x'",
        "SELECT name FROM singer WHERE singer_id NOT IN (SELECT singer_id FROM concert)",
        "SELECT name FROM singer AS a WHERE EXISTS "
        "(SELECT * FROM concert WHERE concert.singer_id = a.singer_id)",
        "SELECT CASE WHEN age > 30 THEN 'old' ELSE \"young\" END AS kind FROM singer",
        "SELECT year, capacity\n  FROM concert\n  CROSS JOIN stadium",
    ],
)
def test_queries_that_sqlite_reads_are_allowed(singers, query):
    samples.make_database(samples.SINGERS).execute(query)
    assert samples.is_query(singers, query)


BEYOND_KEYS = [
    "SELECT CAST(SUM(IIF(name = 'x' AND age > 3, 1, 0)) AS REAL) * 100 / COUNT(*) FROM singer",
    "SELECT SUM(name = 'x') - SUM(age IN (3, 4) OR age IS NULL) FROM singer",
    "SELECT STRFTIME('%Y', CURRENT_TIMESTAMP) - STRFTIME('%Y', year) FROM concert",
    "SELECT DATETIME() - TIME(year) FROM concert",
    "SELECT REPLACE(name, 'a', \"b\"), CASE WHEN age > 3 THEN true ELSE FALSE END FROM singer",
]


@pytest.mark.parametrize("query", BEYOND_KEYS)
def test_what_bird_asks_in_is_allowed_but_not_along_keys(vocabulary, singers, query):
    samples.make_database(samples.SINGERS).execute(query)
    assert samples.is_query(singers, query)
    schema = samples.make_schema(samples.SINGERS)
    along_keys = constraint.SchemaConstraint(vocabulary, schema, along_keys=True)
    assert not samples.is_query(along_keys, query)


@pytest.mark.parametrize(
    ("so_far", "no", "yes"),
    [
        ("SELECT ", "nam ", "name "),
        ("SELECT name FROM ", "singers", "singer"),
        ("SELECT capacity FROM ", "singer WHERE", "stadium WHERE"),  # can no longer be in FROM
        ("SELECT T1.capacity FROM ", "singer AS T1 ", "stadium AS T1 "),
        ("SELECT T1.name FROM singer ", "WHERE", "AS T1 WHERE"),
        ("SELECT T1.name, T2.year FROM singer AS T1 ", "WHERE", "JOIN concert AS T2"),
        ("SELECT singer.name FROM ", "concert WHERE", "singer WHERE"),
        ("SELECT singer.name FROM singer ", "AS T1", "WHERE"),  # it has been named
        ("SELECT singer.name FROM concert AS T1 JOIN stadium AS T2 JOIN ", "stadium", "singer"),
        ("SELECT T1.age, T2.year FROM ", "concert", "singer AS T1"),  # T1 comes first
        ("SELECT T1.name FROM singer ", "AS T2", "AS T1"),
        ("SELECT T1.name FROM singer ", "JOIN concert AS T1", "T1 JOIN concert AS T2"),
        ("SELECT T2.year FROM singer AS ", "T3", "T1 JOIN concert AS T2"),
        ("SELECT T1.name, T3.capacity FROM singer AS T1 ", "WHERE", "JOIN concert AS T2 JOIN"),
        ("SELECT T2.age FROM concert AS T1 JOIN singer AS ", "T3 ", "T2 "),
        ("SELECT T3.age FROM singer AS T3 JOIN concert AS ", "T3 ", "T2 "),
        ("SELECT T1.name, ", "T6.", "T4."),
        ("SELECT age FROM singer WHERE ", "year", "name"),
        ("SELECT age FROM singer AS a WHERE ", "T1", "a.name"),
        ("SELECT age FROM singer AS a WHERE ", "singer.", "singer_id"),
        ("SELECT name FROM singer ", "JOIN concert", "JOIN stadium"),  # ambiguous
        ("SELECT age FROM singer JOIN concert ON ", "name ", "year "),
        ("SELECT age FROM singer WHERE ", "count(", "abs("),
        ("SELECT age FROM singer ORDER BY ", "count(", "age"),
        ("SELECT sum(", "max(", "age"),
        ("SELECT age, name FROM singer UNION SELECT age ", "FROM", ", name FROM"),
        ("SELECT age FROM singer UNION SELECT name", ",", " FROM"),
        ("SELECT age FROM singer WHERE age IN (SELECT ", "*", "age"),
        ("SELECT age FROM singer WHERE age IN (SELECT year FROM concert ORDER BY ", "age", "year"),
        ("SELECT age FROM singer WHERE age IN (SELECT year FROM concert GROUP BY ", "age", "year"),
        ("SELECT age FROM singer WHERE age IN (SELECT year FROM concert WHERE ", "capa", "age"),
        ("SELECT age FROM singer UNION SELECT year FROM concert ORDER BY ", "year", "age"),
        ("SELECT age FROM singer WHERE name = 'a", ";", "''b'"),
        ("SELECT age FROM singer", "FROM", " LIMIT 1"),
        ("SELECT age -", "-1", " -1"),
        ("SELECT age FROM singer LIMIT 1", "a", "2"),
        ("SELECT age FROM singer WHERE name = ", "Bob", '"Bob"'),
        ("SELECT ", '"Bob"', '"name"'),
        ("SELECT name FROM singer WHERE age = ", "unknown", "true"),
        ("SELECT sum(age > 3 ", "AND count", "AND name = 'x'"),
    ],
)
def test_what_may_come_next(singers, so_far, no, yes):
    assert samples.follows(singers, so_far + yes)
    assert not samples.follows(singers, so_far + no)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT",
        "SELECT name FROM singer",
        "SELECT name FROM singer WHERE name = 'a",
        'SELECT name FROM singer WHERE name = "n',
        "SELECT T1.name FROM singer AS ",
        "SELECT name AS total FROM singer ORDER BY t",
        "SELECT count(",
        "SELECT age FROM singer WHERE age <",
    ],
)
def test_a_mask_holds_the_tokens_that_go_on(singers, vocabulary, text):
    position = lexer.steps(singers.before_prefix, text.encode())
    if position is None:
        pytest.fail(text)
    allowed = samples.all_tokens(singers, position)
    for token, piece in enumerate(vocabulary.pieces):
        if token in vocabulary.end_ids:
            assert (token in allowed) == lexer.is_complete(position)
        elif vocabulary.in_literals[token]:
            fits = bool(piece) and lexer.steps(position, piece) is not None
            assert (token in allowed) == fits, (token, piece)


@pytest.mark.parametrize("tables", [samples.SINGERS, samples.ODD], ids=["singers", "odd"])
def test_a_token_is_allowed_where_the_mask_has_it(vocabulary, tables):
    """Along random answers, with room and without. The end token has a test of its own."""
    made = constraint.SchemaConstraint(vocabulary, samples.make_schema(tables))
    tokens = [
        token
        for token, piece in enumerate(vocabulary.pieces)
        if piece and vocabulary.encode(piece) == [token]  # some bytes have a second token
    ]
    for seed in range(8):
        for guide, _ in samples.random_steps(made, limit=60 + 20 * seed, seed=seed):
            next_tokens = made.finder.all(guide.node.position)
            mask = set()
            if not made.any_token_leaves_room(guide.node, guide.left):
                next_tokens = made.with_room(next_tokens, guide.node, guide.left)
                mask = set() if made.is_complete(guide.node) else {guide._first_of_end()}
            mask.update(samples.ids(next_tokens))
            differ = [token for token in tokens if guide.allows(token) != (token in mask)]
            assert differ == []


def test_a_mask_spells_names_as_the_schema_does(singers, vocabulary):
    """A name as the schema has it; the answer itself may spell it otherwise."""
    position = lexer.steps(singers.before_prefix, b"SELECT ")
    canonical = singers.next_tokens(Node(position)).after
    all_ = samples.all_tokens(singers, position)
    for letter, is_canonical in ((b"y", True), (b"Y", False), (b"c", True), (b"C", True)):
        (token,) = vocabulary.encode(letter)
        assert (token in canonical) == is_canonical
        assert token in all_


def test_a_mask_has_no_needless_quotes_and_spaces(vocabulary, singers):
    odd = constraint.SchemaConstraint(vocabulary, samples.make_schema(samples.ODD))
    for made, so_far, needed in ((singers, b"SELECT ", False), (odd, b"SELECT ", True)):
        position = lexer.steps(made.before_prefix, so_far)
        canonical = made.next_tokens(Node(position)).after
        all_ = samples.all_tokens(made, position)
        for mark in b'"`[':
            (token,) = vocabulary.encode(bytes((mark,)))
            assert token in all_
            assert (token in canonical) == needed
        (token,) = vocabulary.encode(b"\n")
        assert token in all_
        assert token not in canonical


@pytest.mark.weights
def test_a_mask_cuts_names_as_the_tokenizer_does():
    vocabulary = samples.gemma_vocabulary()
    tables = {"Band": ("Singer_ID", "Name"), "Stadium": ("Stadium_ID",)}
    made = constraint.SchemaConstraint(vocabulary, samples.make_schema(tables))
    so_far = b"SELECT Name FROM Band AS T1 WHERE T1."
    position = lexer.steps(made.before_prefix, so_far)
    pieces = {vocabulary.pieces[token] for token in made.next_tokens(Node(position)).after}
    assert {b"Singer", b"Name"} <= pieces
    assert not {b"S", b"Sing", b"singer", b"NA"} & pieces


@pytest.mark.parametrize("tables", [samples.SINGERS, samples.ODD], ids=["singers", "odd"])
@pytest.mark.parametrize("prefix", ["", "SELECT"])
def test_random_answers_are_queries_that_sqlite_prepares(vocabulary, tables, prefix):
    made = constraint.SchemaConstraint(vocabulary, samples.make_schema(tables), prefix)
    database = samples.make_database(tables)
    for seed in range(25):
        text = samples.random_answer(made, limit=80 + 7 * seed, seed=seed)
        database.execute(f"EXPLAIN {prefix}{text.decode()}")


def test_names_that_need_quotes_are_there_in_quotes(vocabulary):
    made = constraint.SchemaConstraint(vocabulary, samples.make_schema(samples.ODD))
    for query in (
        'SELECT "group", "two words", "Größe", "quo""te", `back``tick` FROM "order"',
        "SELECT Größe, [two words] FROM `order` WHERE [group] = 1",
        'SELECT plain.id, "select" FROM plain',
        'SELECT "2nd", "a]b" FROM Überblick',
    ):
        samples.make_database(samples.ODD).execute(query)
        assert samples.is_query(made, query), query
    assert not samples.follows(made, "SELECT group FROM")
    assert not samples.follows(made, "SELECT [a")  # "a]b" cannot be in brackets
    assert not samples.follows(made, "SELECT 2nd")


@pytest.mark.parametrize("tables", [{}, {"empty": ()}, {"sqlite_sequence": ("name",)}])
def test_a_schema_without_a_column_is_refused(vocabulary, tables):
    with pytest.raises(errors.InputError, match="samples.*no table with a column"):
        constraint.SchemaConstraint(vocabulary, samples.make_schema(tables))


def test_no_room_for_any_query_is_refused(singers):
    with pytest.raises(errors.InputError, match="max_new_tokens=5 is too little.*samples"):
        constraint.Guide(singers, 5)


def test_a_token_that_does_not_go_on_is_refused(singers, vocabulary):
    guide = constraint.Guide(singers, 100)
    (token,) = vocabulary.encode(b"x")
    assert not guide.allows(token)
    with pytest.raises(ValueError, match="does not go on"):
        guide.advance(token)


def test_the_end_comes_exactly_where_the_query_is_whole(singers, vocabulary):
    guide, text = constraint.Guide(singers, 100), ""
    for token in vocabulary.encode(b"SELECT age FROM singer WHERE age = 12"):
        assert guide.allows(samples.END) == samples.is_query(singers, text)
        allowed = guide.allowed().unpacked(vocabulary.size)
        assert allowed[samples.END] == guide.allows(samples.END)
        guide.advance(token)
        text += vocabulary.pieces[token].decode()
    assert guide.allows(samples.END)
    guide.advance(samples.END)
    assert guide.ended


def test_a_valid_answer_up_to_the_limit_stays_possible(singers, vocabulary):
    tokens = vocabulary.encode(b"SELECT name FROM singer WHERE age = 12")
    guide = constraint.Guide(singers, len(tokens) + 40)
    for token in (*tokens, samples.END):
        assert guide.allows(token)
        guide.advance(token)


@pytest.mark.parametrize("along_keys", [False, True])
def test_a_schema_is_freed_with_its_masks(vocabulary, along_keys):
    schema = samples.make_schema(samples.PAPERS, samples.PAPER_KEYS)
    made = constraint.SchemaConstraint(vocabulary, schema, along_keys=along_keys)
    samples.random_answer(made, limit=40, seed=0)
    freed = weakref.ref(made)
    del made
    gc.collect()
    assert freed() is None


def test_states_are_freed_without_a_collection(vocabulary):
    made = constraint.SchemaConstraint(vocabulary, samples.make_schema(samples.SINGERS))
    samples.random_answer(made, limit=60, seed=0)
    states = [weakref.ref(state) for state in made._parser._states.values() if state]
    gc.disable()
    try:
        made.forget()
        assert [state() for state in states if state()] == [made._parser.start]
    finally:
        gc.enable()
