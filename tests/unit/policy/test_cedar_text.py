"""Cedar files are cut at the semicolons that end policies, and at no others."""

from pathlib import Path

from vecsec_policy.folder.cedar_text import SourcedPolicy, split_policies

PATH = Path("rules.cedar")


def test_policies_start_at_their_first_token() -> None:
    text = '// a; comment\n\n@id("a") permit(principal, action, resource);\n  forbid(principal,\n action, resource) ;'
    assert split_policies(PATH, text) == [
        SourcedPolicy(PATH, 3, '@id("a") permit(principal, action, resource);'),
        SourcedPolicy(PATH, 4, "forbid(principal,\n action, resource) ;"),
    ]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    text = 'permit(principal, action, resource) when { "a;\\";b" like "*;" // c;\n};'
    assert [policy.text for policy in split_policies(PATH, text)] == [text]


def test_what_stands_behind_the_last_policy_is_not_lost() -> None:
    assert split_policies(PATH, "permit(principal, action, resource);\nforbid") == [
        SourcedPolicy(PATH, 1, "permit(principal, action, resource);"),
        SourcedPolicy(PATH, 2, "forbid"),
    ]
    assert split_policies(PATH, "// only a comment\n") == []
    assert split_policies(PATH, "") == []
