"""Cedar files are cut at the semicolons that end policies, and at no others."""

from vecsec_policy.cedar_text import PolicyText, split_policies


def test_policies_start_at_their_first_token() -> None:
    text = '// a; comment\n\n@id("a") permit(principal, action, resource);\n  forbid(principal,\n action, resource) ;'
    assert split_policies(text) == [
        PolicyText('@id("a") permit(principal, action, resource);', 3),
        PolicyText("forbid(principal,\n action, resource) ;", 4),
    ]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    text = 'permit(principal, action, resource) when { "a;\\";b" like "*;" // c;\n};'
    assert [policy.text for policy in split_policies(text)] == [text]


def test_what_stands_behind_the_last_policy_is_not_lost() -> None:
    assert split_policies("permit(principal, action, resource);\nforbid") == [
        PolicyText("permit(principal, action, resource);", 1),
        PolicyText("forbid", 2),
    ]
    assert split_policies("// only a comment\n") == []
    assert split_policies("") == []
