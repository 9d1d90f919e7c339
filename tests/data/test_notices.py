"""Lines on what is left out are told once."""

from t2sql.data import notices


def test_a_line_is_printed_once_and_kept_for_the_page(capsys):
    for line in ("a is left out", "b is left out", "a is left out"):
        notices.tell(line)
    assert capsys.readouterr().err == "note: a is left out\nnote: b is left out\n"
    assert notices.told() == ("a is left out", "b is left out")
    notices.forget()
    assert notices.told() == ()
