"""The catalogues: complete, with the parameters of their messages, compiled from their sources."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

import pytest
from django.utils.translation import override

import django_live_notify
from django_live_notify.templatetags.live_notify import ui_texts

PACKAGE = Path(django_live_notify.__file__).parent
LANGUAGES = ["ar", "de", "es", "fr", "ja", "zh_Hans"]

# A msgid, and that of its plural, if it has one.
Message = tuple[str, ...]


def find_messages() -> set[Message]:
    """Return all messages that the package's code marks for translation."""
    functions = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions:
                texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
                if texts and all(isinstance(text, str) for text in texts):
                    found.add(tuple(str(text) for text in texts))
    return found


def read_catalogue(language: str) -> dict[Message, list[str]]:
    """Return the forms of each message of a .po file; ours have each text on one line."""
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"
    entries = {}
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        assert "fuzzy" not in block and "#~" not in block, block
        ids = re.findall(r'^msgid(?:_plural)? "(.*)"$', block, re.MULTILINE)
        assert tuple(ids) not in entries, ids
        entries[tuple(ids)] = re.findall(r'^msgstr(?:\[\d\])? "(.*)"$', block, re.MULTILINE)
    del entries[("",)]
    return entries


def parameters(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)[sd]", text))


def test_there_is_a_catalogue_for_each_language() -> None:
    assert sorted(path.name for path in (PACKAGE / "locale").iterdir()) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_catalogue_is_complete(language: str) -> None:
    entries = read_catalogue(language)
    assert set(entries) == find_messages()
    for message, forms in entries.items():
        assert forms and all(form.strip() for form in forms), message


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_has_the_parameters_of_its_message(language: str) -> None:
    for message, forms in read_catalogue(language).items():
        assert parameters(forms[-1]) == parameters(message[0]), message
        # "One user" and "two users" may say their number in a word.
        assert all(parameters(form) <= parameters(message[0]) for form in forms), message


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_catalogue_is_compiled_from_its_source(language: str) -> None:
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        compiled = dict(gettext.GNUTranslations(file)._catalog)
    compiled.pop("")
    expected: dict[object, str] = {}
    for message, forms in read_catalogue(language).items():
        if len(message) == 1:
            expected[message[0]] = forms[0]
        else:
            expected |= {(message[0], number): form for number, form in enumerate(forms)}
    assert compiled == expected


def test_browsers_get_each_form_of_plurals() -> None:
    with override("ar"):
        forms = ui_texts()["more"]
    assert isinstance(forms, dict)
    assert list(forms) == ["zero", "one", "two", "few", "many", "other"]
    assert len(set(forms.values())) == 6
    assert forms["two"] == "وإشعاران آخران"
    with override("fr"):
        assert ui_texts()["more"]["one"] == "et %(count)s autre"


def test_a_text_that_is_the_same_for_all_numbers_is_sent_once() -> None:
    for language in ("de", "ja", "zh-hans", "en"):
        with override(language):
            assert isinstance(ui_texts()["more"], str)
