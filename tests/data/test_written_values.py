"""Values that stand in a question in another form than in the database."""

import sqlite3

import pytest

from t2sql.data import compact, values
from t2sql.storage import local_cache

_SCRIPT = """
CREATE TABLE pet (id int, kind text, weight int);
CREATE TABLE owner (id int, sex text, last_name text, country text, state text);
CREATE TABLE course (id int, grade text, OnScholarship text, department text);
INSERT INTO pet VALUES (1, 'cat', 4), (2, 'dog', 9);
INSERT INTO owner VALUES (1, 'F', 'Kowalsky', 'France', 'CA'), (2, 'M', 'Reed', 'USA', 'TX');
INSERT INTO course VALUES (1, '4', 'Y', 'NorthCampus'), (2, 'C', 'N', 'Accounting');
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "school.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(_SCRIPT)
    return path


@pytest.fixture(scope="module")
def database(path):
    return compact.CompactDatabase(path, written=True)


@pytest.mark.parametrize(
    ("question", "condition"),
    [
        ("Who has cats?", "pet.kind = 'cat'"),
        ("How many French owners are there?", "owner.country = 'France'"),
        ("Which owners are from the United States?", "owner.country = 'USA'"),
        ("List the American owners.", "owner.country = 'USA'"),
        ("Owners in California", "owner.state = 'CA'"),
        ("How many female owners are there?", "owner.sex = 'F'"),
        ("Which courses are on scholarship?", "course.OnScholarship = 'Y'"),
        ("Which courses are not on scholarship?", "course.OnScholarship = 'N'"),
        ("Students in grade 4", "course.grade = '4'"),
        ("Students of the fourth grade", "course.grade = '4'"),
        ("Who received a grade of C?", "course.grade = 'C'"),
        ("Courses of the North Campus", "course.department = 'NorthCampus'"),
        ('The owner with the last name "Kowalski"', "owner.last_name = 'Kowalsky'"),
    ],
)
def test_a_value_is_found_as_people_write_it(database, question, condition):
    assert database.matches(question) == (condition,)


@pytest.mark.parametrize(
    "question",
    [
        "Tell us how many pets there are.",  # us: no country
        "How many male and female owners are there?",  # counted by sex
        "What is the scholarship status of each course?",
        "Which owner has 4 pets?",  # no grade
        "List the pets and owners.",  # words of the schema
        "Which owner has a reed?",  # 'Reed' as stored: see below
    ],
)
def test_what_names_no_value_in_another_form_is_left_alone(path, database, question):
    assert database.matches(question) == compact.CompactDatabase(path).matches(question)


def test_the_column_that_a_question_mentions_comes_first(tmp_path):
    path = tmp_path / "world.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE airline (name text, home text); CREATE TABLE airport (city text);"
            "INSERT INTO airline VALUES ('Aberdeen', 'Aberdeen');"
            "INSERT INTO airport VALUES ('Aberdeen')"
        )
    database = compact.CompactDatabase(path, written=True)
    assert database.matches("Which airport is in the city of Aberdeen?")[0] == (
        "airport.city = 'Aberdeen'"
    )
    assert len(database.matches("Aberdeen")) == 3


def test_the_values_of_a_large_database_are_kept_until_it_changes(path, monkeypatch, tmp_path):
    monkeypatch.setenv(local_cache.ENVIRONMENT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "_KEPT_FROM", 0)
    read = []
    monkeypatch.setattr(
        values, "_read", lambda *args, _read=values._read: read.append(args) or _read(*args)
    )
    texts = {compact.CompactDatabase(path).text for _ in range(2)}
    assert len(texts) == len(read) == 1
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO pet VALUES (3, 'bat', 1), (4, 'bat', 1)")
    assert "'bat'" in compact.CompactDatabase(path).text
    assert len(read) == 2
