"""How the texts of a command line become values."""

from pathlib import Path

import pytest

from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.options import read_object, read_pairs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nights=2", {"nights": 2}),
        ("to=Lisbon", {"to": "Lisbon"}),
        ('nights="2"', {"nights": "2"}),
        ("code=007", {"code": "007"}),
        ("vip=true", {"vip": True}),
        ("memo=a=b", {"memo": "a=b"}),
        ("memo=", {"memo": ""}),
        ("legs=[1, 2]", {"legs": [1, 2]}),
        ('{"to": "Lisbon"}', {"to": "Lisbon"}),
        ("", None),
    ],
)
def test_a_text_is_read_as_its_author_means_it(text: str, value: dict[str, object] | None) -> None:
    """JSON where it is JSON, else text; what is neither is refused."""
    if value is None:
        with pytest.raises(CliError):
            read_object([text], "--input")
    else:
        assert read_object([text], "--input") == value


def test_later_texts_win_over_earlier(tmp_path: Path) -> None:
    """A file for all, an option for the exception."""
    file = tmp_path / "in.json"
    file.write_text('{"to": "Oslo", "nights": 1}')

    assert read_object([str(file), "nights=3"], "-i") == {"to": "Oslo", "nights": 3}


@pytest.mark.parametrize(
    ("content", "said"), [("[1]", "is JSON, but not an object"), ("{", "is not JSON")]
)
def test_a_file_that_holds_no_object_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """The file is named, with what is wrong and examples."""
    file = tmp_path / "in.json"
    file.write_text(content)

    with pytest.raises(CliError, match=said) as refused:
        read_object([str(file)], "--input")

    assert refused.value.exit_code is Exit.USAGE
    assert "--input to=Lisbon" in str(refused.value.do)


def test_labels_stay_text() -> None:
    """A label is never a number."""
    assert read_pairs(["tier=1", "vip=true"], "--label") == {"tier": "1", "vip": "true"}
