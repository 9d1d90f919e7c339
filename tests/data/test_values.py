"""The values of a database: what is read of them, and which a question names."""

import os
import re
import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql.data import database, notices, read_schema, values
from t2sql.data.schema import ColumnRef

NAMES = ColumnRef("singer", "name")


def read(path):
    return values.read_values(path, read_schema.schema_from_sqlite(path))


def found(stored, question):
    index = values.ValueIndex({NAMES: stored})
    return [match.value for matches in index.find(question) for match in matches]


@pytest.mark.parametrize(
    ("stored", "question", "named"),
    [
        (["France", "Netherlands"], "有多少歌手来自France？", ["France"]),
        (["Joe Sharp", "王小明", "李雷"], "王小明的年龄是多少？", ["王小明"]),
        (["中国", "法国"], "来自法国的歌手的平均年龄是多少？", ["法国"]),
        (["國立臺灣大學", "臺灣"], "國立臺灣大學有多少學生?", ["國立臺灣大學"]),
        (["男", "女"], "有多少女歌手？", ["女"]),
        (["人", "的"], "歌手的人数是多少？", []),
        (["프랑스", "한국"], "프랑스에서 온 가수는 몇 명입니까?", ["프랑스"]),
        (["서울특별시", "서울"], "서울에 있는 대학교의 이름은?", ["서울"]),
        (["フランス", "東京"], "東京とフランスの歌手は何人ですか？", ["フランス", "東京"]),
        (["ジョン・レノン"], "ジョン・レノンの曲は？", ["ジョン・レノン"]),
        (["の", "は"], "東京の歌手は何人ですか？", []),
        (["กรุงเทพมหานคร"], "มีนักร้องกี่คนในกรุงเทพมหานครบ้าง", ["กรุงเทพมหานคร"]),
        (["3年级"], "3年级的学生有多少", ["3年级"]),
        (["Anna", "ＮＹ"], "ＡＮＮＡ和在NY的人", ["Anna", "ＮＹ"]),
        (["カフェ"], "ｶﾌｪの県は？", ["カフェ"]),
        (["2014"], "2014年有多少场演唱会？", ["2014"]),
        # Words in scripts with spaces stay whole.
        (["Fran"], "Who comes from France?", []),
        (["пар"], "Какой певец из Парижа?", []),
    ],
)
def test_values_are_found_in_scripts_without_spaces_and_under_particles(stored, question, named):
    assert sorted(found(stored, question)) == sorted(named)


@given(st.text(alphabet=st.characters(max_codepoint=0xDFF)))
def test_words_of_scripts_with_spaces_are_what_they_were(text):
    composed = unicodedata.normalize("NFC", text)
    assert values.words_of(text) == tuple(re.findall(r"\w+", composed.casefold()))


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_an_accent_of_its_own_is_the_same_letter(stored, asked):
    name = unicodedata.normalize(stored, "Čeněk Kovář")
    assert found([name], unicodedata.normalize(asked, "How old is Čeněk Kovář?")) == [name]


def test_a_long_value_of_a_script_without_spaces_is_found():
    title = "关于在信息时代进一步加强和改进高等学校图书馆工作的若干意见"
    assert found([title], f"《{title}》是谁写的？") == [title]


def test_views_have_no_values_and_cost_no_time(tmp_path, make_database):
    path = make_database(
        tmp_path / "x.sqlite",
        """
        CREATE TABLE n (x INTEGER);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 6000)
            INSERT INTO n SELECT x FROM c;
        CREATE VIEW pairs AS SELECT 'label ' || count(*) AS label FROM n a, n b, n c GROUP BY a.x;
        """,
    )
    assert read(path) == {ColumnRef("n", "x"): [], ColumnRef("pairs", "label"): []}
    assert notices.told() == ()


def test_rows_beyond_the_bound_are_not_read_and_that_is_told(tmp_path, make_database, monkeypatch):
    monkeypatch.setattr(values, "MAX_ROWS", 2000)
    script = "CREATE TABLE ship (name TEXT); CREATE TABLE port (name TEXT);"
    path = make_database(tmp_path / "x.sqlite", script)
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO ship VALUES (?)", ((f"s{i}",) for i in range(2001)))
        connection.executemany("INSERT INTO port VALUES (?)", ((f"p{i}",) for i in range(2000)))
    connection.close()
    of_columns = read(path)
    assert len(of_columns["ship", "name"]) == 2000
    assert "s2000" not in of_columns["ship", "name"]
    assert len(of_columns["port", "name"]) == 2000
    assert notices.told() == (
        f"{path}: not all values of ship are known here: it has more than 2,000 rows",
    )


def test_no_more_values_are_kept_than_there_is_room_for(tmp_path, make_database, monkeypatch):
    monkeypatch.setattr(values, "MAX_VALUES", 1500)
    path = make_database(
        tmp_path / "x.sqlite",
        "CREATE TABLE a (name TEXT); CREATE TABLE ship (name TEXT); CREATE TABLE z (name TEXT);"
        "INSERT INTO a VALUES ('Fram'); INSERT INTO z VALUES ('Oslo')",
    )
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO ship VALUES (?)", ((f"s{i}",) for i in range(9000)))
    connection.close()
    of_columns = read(path)
    assert of_columns["a", "name"] == ["Fram"]
    assert 1500 <= len(of_columns["ship", "name"]) <= 2500
    assert of_columns["z", "name"] == []
    assert [line.split(": ")[1] for line in notices.told()] == [
        "not all values of ship are known here",
        "not all values of z are known here",
    ]


def test_values_of_a_large_database_are_read_once_until_it_changes(
    tmp_path, make_database, monkeypatch, caplog
):
    """With and without the cache, and with a broken file in it, the values are equal."""
    path = make_database(
        tmp_path / "x.sqlite",
        "CREATE TABLE ship (name TEXT, port TEXT); CREATE VIEW names AS SELECT name FROM ship;"
        "INSERT INTO ship VALUES ('Gjøa', 'Oslo'), ('Fram', 'Oslo'), ('Fram', 'it''s \"Bergen\"')",
    )
    monkeypatch.setattr(values, "MAX_ROWS", 2)
    monkeypatch.setattr(values, "_ROWS_AT_ONCE", 1)
    plain, told = read(path), notices.told()
    assert told
    monkeypatch.setattr(values, "_KEPT_FROM", 0)
    monkeypatch.setenv("T2SQL_CACHE", str(tmp_path / "cache"))
    assert list(read(path).items()) == list(plain.items())
    (kept,) = (tmp_path / "cache" / "values").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(values, "_read", None)
        assert list(read(path).items()) == list(plain.items())
    for broken in (kept.read_bytes()[:-9], b'{"values": [], "cut": []}', b"[]"):
        kept.write_bytes(broken)
        caplog.clear()
        assert read(path) == plain
        assert f"{kept}: cannot be used" in caplog.text
    assert set(notices.told()) == set(told)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO ship (rowid, name) VALUES (-1, 'Maud')")
    connection.close()
    assert "Maud" in read(path)["ship", "name"]


def test_values_that_time_cut_are_not_kept_and_old_ones_make_room(
    tmp_path, make_database, monkeypatch
):
    monkeypatch.setattr(values, "_KEPT_FROM", 0)
    monkeypatch.setenv("T2SQL_CACHE", str(tmp_path / "cache"))
    script = "CREATE TABLE ship (name TEXT); INSERT INTO ship VALUES ('Fram'), ('Gjøa')"
    paths = [make_database(tmp_path / f"{name}.sqlite", script) for name in "ab"]
    with monkeypatch.context() as patch:
        patch.setattr(database, "MAX_SECONDS", -1)
        patch.setattr(database, "_STEPS_PER_CHECK", 1)
        assert read(paths[0])["ship", "name"] == []
    assert read(paths[0])["ship", "name"] == ["Fram", "Gjøa"]
    folder = tmp_path / "cache" / "values"
    (first,) = folder.iterdir()
    os.utime(first, ns=(0, 0))
    monkeypatch.setattr(values, "_MAX_KEPT_BYTES", first.stat().st_size)
    read(paths[1])
    (second,) = folder.iterdir()
    assert second != first


def test_slow_reads_are_shown_after_a_second_and_end(tmp_path, make_database, monkeypatch, capsys):
    monkeypatch.setattr(database, "MAX_SECONDS", 1.5)
    # Each row takes SQLite a while: the generated column goes many times through a long text.
    long_text = "replace(hex(zeroblob(length(log))), '0', 'ax')"
    for _ in range(5):
        long_text = f"replace(replace({long_text}, 'a', 'bc'), 'bc', 'a')"
    path = make_database(
        tmp_path / "x.sqlite",
        f"CREATE TABLE ship (log TEXT, name TEXT AS ({long_text} LIKE '%x%y%z'));"
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000)"
        "INSERT INTO ship (log) SELECT hex(zeroblob(10000 - x)) FROM c;"
        "CREATE TABLE port (name TEXT); INSERT INTO port VALUES ('Oslo')",
    )
    of_columns = read(path)
    assert of_columns["port", "name"] == []
    assert f"reading the values of {path} ..." in capsys.readouterr().err
    assert [line.rpartition(": ")[2] for line in notices.told()] == [
        "the database takes more than 2 s to read"
    ] * 2


def test_columns_that_sqlite_cannot_sort_have_values(tmp_path):
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as connection:
        connection.create_collation("nautical", lambda a, b: (a > b) - (a < b))
        connection.execute("CREATE TABLE ship (name TEXT COLLATE nautical)")
        connection.execute("INSERT INTO ship VALUES ('Fram'), ('Gjøa'), ('Gjøa')")
    connection.close()
    assert read(path) == {ColumnRef("ship", "name"): ["Gjøa", "Fram"]}


def test_a_generated_column_that_fails_on_a_row_ends_nothing(tmp_path, make_database):
    path = make_database(
        tmp_path / "x.sqlite",
        """
        CREATE TABLE doc (body TEXT);
        INSERT INTO doc VALUES ('not JSON');
        ALTER TABLE doc ADD COLUMN color AS (json_extract(body, '$.color'));
        CREATE TABLE ship (name TEXT);
        INSERT INTO ship VALUES ('Fram');
        """,
    )
    assert read(path)["ship", "name"] == ["Fram"]
    assert notices.told() == (f"{path}: not all values of doc are known here: malformed JSON",)


def test_a_full_text_table_over_rows_that_are_gone_has_no_values(tmp_path, make_database):
    path = make_database(
        tmp_path / "x.sqlite",
        """
        CREATE TABLE ship (name TEXT);
        INSERT INTO ship VALUES ('Fram');
        CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT);
        CREATE VIRTUAL TABLE log USING fts5(text, content='entry', content_rowid='id');
        INSERT INTO log (rowid, text) VALUES (1, 'fog at dawn');
        DROP TABLE entry;
        """,
    )
    assert read(path)["ship", "name"] == ["Fram"]
    assert any(line.startswith(f"{path}: not all values of log") for line in notices.told())
