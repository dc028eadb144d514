//! Tables: a text, and what BuildKit makes of it. Each row was checked against BuildKit itself.

use super::*;

/// The variables of these tables.
fn value(name: &str) -> Option<&'static str> {
    let known = [
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("NULL", ""),
        ("GREEK", "ελληνικά"),
        ("SPACED", "  a  b "),
        ("PAIR", "xxyy"),
        ("MARKS", "???y"),
        ("PATH_LIKE", "/a/foo/b/c.txt"),
        ("STARS", "a***yy*"),
        ("LINES", "ab\ncb"),
        ("SLASH", "/?/"),
        ("ODD", "()[]{}^$.*?|\\x"),
    ];
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn expanded(text: &str, rules: Rules) -> Result<Expansion, String> {
    expand(text, rules, &value, &Budget::new(Budget::FULL))
}

fn check(cases: &[(&str, &str)]) {
    for (text, result) in cases {
        let expansion = expanded(text, word_rules('\\')).unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert_eq!(expansion.text, *result, "{text}");
    }
}

fn check_errors(cases: &[&str]) {
    for text in cases {
        assert!(expanded(text, word_rules('\\')).is_err(), "{text}");
    }
}

#[test]
fn quotes_and_escapes() {
    check(&[
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he\\'llo", "he'llo"),
        ("abc\\tdef", "abctdef"),
        ("\"abc\\tdef\"", "abc\\tdef"),
        ("\"abc\\\\tdef\"", "abc\\tdef"),
        ("'abc\\tdef'", "abc\\tdef"),
        ("hello\\", "hello"),
        ("hello\\\\", "hello\\"),
        ("\"hel'lo\"", "hel'lo"),
        ("'hello\\'", "hello\\"),
        ("\"''\"", "''"),
        ("'\"hello\"'", "\"hello\""),
        ("a\\ b", "a b"),
        ("a << b < c", "a << b < c"),
    ]);
    check_errors(&["he'llo", "he\\\\'llo", "\"hello", "\"hello\\\"", "'hello", "\"a${PWD\""]);
}

#[test]
fn plain_names() {
    check(&[
        ("$PWD.", "/home."),
        ("he$pwd.", "he."),
        ("he\\$PWD", "he$PWD"),
        ("he\\\\$PWD", "he\\/home"),
        ("\"he\\$PWD\"", "he$PWD"),
        ("\"he\\\\$PWD\"", "he\\/home"),
        ("\"$PWD\"", "/home"),
        ("\"he'$PWD'\"", "he'/home'"),
        ("'$PWD'", "$PWD"),
        ("'\\$PWD'", "\\$PWD"),
        ("$GREEK$PWD", "ελληνικά/home"),
        ("${PWD}x", "/homex"),
        ("${none}x", "x"),
        ("\\${}", "${}"),
        ("$.", "$."),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("${aaa}}", "}"),
    ]);
    check_errors(&["${}", "he${}xx", "${.}", "${PWD", "${{aaa}", "${:}", "${:-b}", "${"]);
}

#[test]
fn positional_and_special_parameters_are_never_set() {
    for name in ["1", "999", "001", "0", "@", "*", "#", "?", "-", "$", "!"] {
        check(&[
            (&format!("a${name}"), "a"),
            (&format!("a${{{name}}}b"), "ab"),
            (&format!("${{{name}:+x}}"), ""),
            (&format!("${{{name}:-x}}"), "x"),
        ]);
    }
    check(&[("he$1x", "hex"), ("$999aaa", "aaa"), ("$@@@", "@@"), ("$@aaa", "aaa")]);
}

#[test]
fn words_in_place_of_values() {
    check(&[
        ("${none:-000}x", "000x"),
        ("${NULL:-000}", "000"),
        ("${NULL-000}", ""),
        ("${PWD:-000}", "/home"),
        ("${none:-$PWD}", "/home"),
        ("${none:-${PWD:-y}}", "/home"),
        ("${none:-${other:-y}}x", "yx"),
        ("${none:-}", ""),
        ("${none:-\\$PWD:}", "$PWD:"),
        ("${none:-\\${PWD}z}", "${PWDz}"),
        ("${none:-a {b}", "a {b"),
        ("${none:-\"a}b\"}", "a}b"),
        ("${PWD:+000}", "000"),
        ("${NULL:+000}", ""),
        ("${NULL+000}", "000"),
        ("${none+000}", ""),
        ("${PWD:+${PWD}:}x", "/home:x"),
        ("${PWD?}", "/home"),
        ("${NULL?no}", ""),
        ("${PWD:?no}", "/home"),
    ]);
    check_errors(&[
        "${PWD:=0}",
        "${PWD=0}",
        "${none:YYY}",
        "${none:-a ${b}",
        "${PWD:#}",
        "${PWD:%%}",
        "${PWD^^}",
    ]);
}

#[test]
fn variables_that_must_be_set() {
    for (text, message) in [
        ("${none?}", "none: is not allowed to be unset"),
        ("${none:?}", "none: is not allowed to be unset"),
        ("${NULL:?}", "NULL: is not allowed to be empty"),
        ("${none?say $SHELL}", "none: say bash"),
        ("${NULL:?say so}", "NULL: say so"),
    ] {
        assert_eq!(expanded(text, word_rules('\\')).expect_err(text), message);
    }
}

#[test]
fn ends_that_match_are_taken_away() {
    check(&[
        ("${PAIR#*}", "xxyy"),
        ("${PAIR##*}", ""),
        ("${PAIR#*x}", "xyy"),
        ("${PAIR##*x}", "yy"),
        ("${PAIR#*x*y}", "y"),
        ("${PAIR#}", "xxyy"),
        ("${PAIR#z}", "xxyy"),
        ("${PAIR%y}", "xxy"),
        ("${PAIR%%y*}", "xx"),
        ("${PAIR%y*}", "xxy"),
        ("${PAIR%x}", "xxyy"),
        ("${MARKS#?\\?}", "?y"),
        ("${STARS%%\\**\\*}", "a"),
        ("${STARS%\\**}", "a***yy"),
        ("${ODD#()[]{\\}^$.\\*\\?|\\\\}", "x"),
        ("${LINES##*b}", "\ncb"),
        ("${LINES%%?b}", "ab\n"),
        ("${none#x}", ""),
        ("${PWD#${none:-/}}", "home"),
    ]);
    check_errors(&["${none#\\x}", "${PAIR#\\x}", "${PAIR%\\a*}", "${PAIR#a"]);
}

#[test]
fn what_matches_is_replaced() {
    check(&[
        ("${PAIR/x/z}", "zxyy"),
        ("${PAIR//x/z}", "zzyy"),
        ("${PAIR//x/}", "yy"),
        ("${PAIR/x*y/z}", "z"),
        ("${PAIR//?/-}", "----"),
        ("${PAIR//*/-}", "-"),
        ("${PAIR/$NULL/w}", "wxxyy"),
        ("${PAIR//$NULL/w}", "wxwxwywyw"),
        ("${PAIR///}", "xxyy"),
        ("${PATH_LIKE/$SLASH/\\/}", "\\/foo/b/c.txt"),
        ("${PATH_LIKE//$SLASH/-}", "-foo-c.txt"),
        ("${PATH_LIKE//\\//\\/}", "\\/a\\/foo\\/b\\/c.txt"),
        ("${PAIR/x/$SHELL}", "bashxyy"),
        ("${PAIR//y/\\1}", "xx\\1\\1"),
        ("${none//x/y}", ""),
    ]);
    check_errors(&["${PAIR//x}", "${PAIR/x", "${PAIR//}", "${PAIR/\\y/z}"]);
}

#[test]
fn words_are_cut_where_space_is_not_quoted() {
    let cases: [(&str, &[&str]); 9] = [
        ("hello${PWD}bye", &["hello/homebye"]),
        ("a${SPACED}c", &["a", "a", "b", "c"]),
        ("a\"${SPACED}\"c", &["a  a  b c"]),
        ("a \"b  c\"  d", &["a", "b  c", "d"]),
        ("a\\ b c", &["a b", "c"]),
        ("''", &[]),
        ("${NULL}", &[]),
        ("a << b", &["a", "<< b"]),
        ("80${none:-/udp} 90", &["80/udp", "90"]),
    ];
    for (text, words) in cases {
        let found = expanded(text, word_rules('\\')).map(|expansion| expansion.words);
        let words = words.iter().map(|word| word.to_string()).collect();
        assert_eq!(found, Ok(words), "{text}");
    }
}

#[test]
fn other_rules() {
    let text = |text, rules| expanded(text, rules).map(|expansion| expansion.text);
    assert_eq!(text("c:\\`$PWD", word_rules('`')).as_deref(), Ok("c:\\$PWD"));
    assert_eq!(text("it's \"$PWD\" \\$PWD", CONTENT_RULES).as_deref(), Ok("it's \"/home\" $PWD"));
    let kept = Rules { quotes: Quotes::Keep, keep_escapes: true, keep_unset: true, ..word_rules('\\') };
    for (before, after) in [
        ("'a' \"b\" \\c", "'a' \"b\" \\c"),
        ("$none ${none} ${none:-x} ${none#x} ${none/x/y}", "$none ${none} ${none:-x} ${none#x} ${none/x/y}"),
        ("$PWD", "/home"),
    ] {
        assert_eq!(text(before, kept).as_deref(), Ok(after));
    }
}

#[test]
fn what_was_asked_for_is_known() {
    let expansion = expanded("$PWD ${none:-$other} ${PWD}", word_rules('\\')).expect("an expansion");
    assert!(expansion.used.iter().eq(["PWD"]));
    assert!(expansion.unset.iter().eq(["none", "other"]));
}

#[test]
fn limits_are_errors() {
    let deep = "${a:-".repeat(DEPTH + 1) + &"}".repeat(DEPTH + 1);
    check_errors(&[&deep]);
    let shallow = "${a:-".repeat(DEPTH) + &"}".repeat(DEPTH);
    check(&[(&shallow, "")]);

    let long = "x".repeat(100_000);
    let budget = Budget::new(Budget::FULL);
    let value = |_: &str| Some(long.as_str());
    assert!(expand(&"$a".repeat(1000), word_rules('\\'), &value, &budget).is_err());
    let budget = Budget::new(Budget::FULL);
    assert!(expand("${a//x/$a}", word_rules('\\'), &value, &budget).is_err());
}

/// What would take time that grows with the square, or worse, of a search that goes back.
#[test]
fn globs_that_match_nowhere_cost_no_more_than_others() {
    let long = "a".repeat(50_000);
    let value = |_: &str| Some(long.as_str());
    for text in ["${a//*b/c}", "${a//a*a*a*a*b/c}", "${a%%*b*b}", "${a##*a*b}"] {
        let expansion = expand(text, word_rules('\\'), &value, &Budget::new(Budget::FULL)).expect(text);
        assert_eq!(expansion.text, long, "{text}");
    }
}
