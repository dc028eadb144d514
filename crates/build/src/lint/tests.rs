//! Dockerfiles and the rules that they break, each checked against BuildKit's.

use std::collections::BTreeMap;

use super::*;

/// `line rule` for every warning, and what is wrong.
fn checked(text: &str, ignore: Option<&str>, target: Option<&str>) -> (Vec<String>, Option<String>, bool) {
    let linux = Platform::parse("linux/amd64").expect("a platform");
    let stage = target.map(str::to_owned);
    let given = Given { arguments: BTreeMap::new(), build: linux.clone(), target: linux, stage };
    let ignore = ignore.map(|text| Ignore::parse(".dockerignore", text.as_bytes()).expect("an ignore file"));
    let surroundings = Surroundings {
        given,
        contexts: BTreeSet::new(),
        settings: None,
        ignore: ignore.as_ref(),
        base: &|name, _| (name != "unknown").then(Base::default),
    };
    let report = check(Dockerfile::parse_far("Dockerfile", text.as_bytes()), &surroundings);
    let warnings =
        report.warnings.iter().map(|warning| format!("{} {}", warning.first_line, warning.rule.name()));
    (warnings.collect(), report.error.map(|error| error.message().to_owned()), report.fatal)
}

/// The rules that a Dockerfile breaks, which is right otherwise.
fn broken(text: &str) -> Vec<String> {
    let (warnings, error, _) = checked(text, None, None);
    assert_eq!(error, None, "{text}");
    warnings
}

fn check_all(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(broken(text), *expected, "{text}");
    }
}

#[test]
fn names_and_casing() {
    check_all(&[
        ("FROM scratch AS Bad", &["1 StageNameCasing"]),
        ("FROM scratch as a", &["1 FromAsCasing"]),
        ("from scratch AS a\nfrom scratch as b", &["1 FromAsCasing"]),
        ("FROM scratch AS b\nFROM scratch AS B", &["2 DuplicateStageName", "2 StageNameCasing"]),
        ("FROM scratch AS scratch\nFROM scratch AS context", &["1 ReservedStageName", "2 ReservedStageName"]),
        ("From scratch as a\nFROM scratch AS b", &["1 ConsistentInstructionCasing"]),
        ("FROM scratch\ncopy a /\nCOPY a /", &["2 ConsistentInstructionCasing"]),
        ("FROM scratch\ncopy a /\ncopy b /", &["1 ConsistentInstructionCasing"]),
        ("from scratch\ncopy a /", &[]),
        ("FROM scratch\nRUN <<EOT\nenv\nEOT", &[]),
        ("FROM scratch\nMAINTAINER me", &["2 MaintainerDeprecated"]),
    ]);
}

#[test]
fn forms() {
    check_all(&[
        ("FROM scratch\nCOPY a \\\n\n/\nCOPY a \\\n/", &["4 NoEmptyContinuation"]),
        ("FROM scratch\nCMD a", &["2 JSONArgsRecommended"]),
        ("FROM scratch\nENTRYPOINT a", &["2 JSONArgsRecommended"]),
        ("FROM scratch\nSHELL [\"a\"]\nCMD a", &[]),
        ("FROM scratch AS a\nSHELL [\"a\"]\nFROM a\nCMD a", &[]),
        ("FROM scratch\nENV a b\nLABEL a b", &["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"]),
        ("FROM scratch\nWORKDIR a", &["2 WorkdirRelativePath"]),
        ("FROM scratch\nWORKDIR a\nWORKDIR b", &["2 WorkdirRelativePath"]),
        ("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b", &[]),
        ("FROM scratch\nEXPOSE 80/TcP 8080/udp", &["2 ExposeProtoCasing"]),
        (
            "FROM scratch\nEXPOSE 127.0.0.1:80:80 5000:5000 80",
            &["2 ExposeInvalidFormat", "2 ExposeInvalidFormat"],
        ),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\nFROM scratch\nCMD [\"c\"]",
            &["2 MultipleInstructionsDisallowed", "4 MultipleInstructionsDisallowed"],
        ),
    ]);
}

#[test]
fn variables() {
    check_all(&[
        ("ARG base=scratch\nFROM $base", &[]),
        ("ARG a\nFROM scra${a:-tch}", &[]),
        ("FROM --platform=$BUILDPLATFORM scratch", &[]),
        ("FROM --platform=$TARGETPLATFORM scratch", &["1 RedundantTargetPlatform"]),
        ("FROM --platform=linux/amd64 scratch", &["1 FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/amd64 scratch AS my_amd64", &[]),
        ("ARG tag=1\nFROM a:${tag}${version}", &["2 UndefinedArgInFrom"]),
        ("FROM scratch\nARG a\nCOPY x$a /", &[]),
        ("FROM scratch\nCOPY $a /\nARG a=b\nRUN echo $a", &["2 UndefinedVar"]),
        ("FROM scratch AS a\nARG foo=x\nFROM a\nCOPY $foo /", &[]),
        ("FROM scratch\nENV PATH=$PAHT:/x", &["2 UndefinedVar"]),
        ("FROM scratch\nARG a=$a b=$a", &["2 UndefinedVar"]),
        ("FROM scratch\nCOPY <<E /\n$a\nE\nCOPY <<'E' /\n$b\nE", &["2 UndefinedVar"]),
        ("FROM scratch\nRUN --mount=target=$a b", &["2 UndefinedVar"]),
        ("FROM unknown\nCOPY $a /", &[]),
        (
            "FROM scratch\nARG SECRET_PASS auth=x\nENV git_key= Password=x",
            &[
                "2 SecretsUsedInArgOrEnv",
                "2 SecretsUsedInArgOrEnv",
                "3 SecretsUsedInArgOrEnv",
                "3 SecretsUsedInArgOrEnv",
            ],
        ),
        ("FROM scratch\nARG PUBLIC_KEY SECRET_FILE AUTH_VERSION keyboard\nENV monkey=1", &[]),
    ]);
}

#[test]
fn base_images_without_arguments() {
    for (text, expected) in [
        ("ARG tag\nFROM a:$tag", vec!["2 InvalidDefaultArgInFrom"]),
        ("ARG image\nFROM $image", vec!["2 InvalidDefaultArgInFrom"]),
        ("ARG tag=latest\nFROM a:$tag", vec![]),
        ("ARG variant\nFROM a:stable$variant", vec![]),
    ] {
        assert_eq!(checked(text, None, None).0, expected, "{text}");
    }
}

#[test]
fn details_name_what_is_meant() {
    let linux = Platform::parse("linux/amd64").expect("a platform");
    let given = Given { arguments: BTreeMap::new(), build: linux.clone(), target: linux, stage: None };
    let base = &|_: &str, _: &Platform| Some(Base::default());
    let surroundings = Surroundings { given, contexts: BTreeSet::new(), settings: None, ignore: None, base };
    let text = "ARG version=1\nFROM a:$vesion\nARG DIR_ASSETS=a\nCOPY $DIR_ASSET /";
    let report = check(Dockerfile::parse_far("Dockerfile", text.as_bytes()), &surroundings);
    let details: Vec<_> = report.warnings.iter().map(|warning| warning.detail.as_str()).collect();
    assert_eq!(details[0], "`a:$vesion` is no image if no argument is given");
    assert_eq!(details[1], "no `ARG` above the first `FROM` declares `vesion`: did you mean `version`?");
    let text = text.replace("$vesion", "$version");
    let report = check(Dockerfile::parse_far("Dockerfile", text.as_bytes()), &surroundings);
    assert_eq!(report.warnings[0].detail, "nothing defines `$DIR_ASSET`: did you mean `$DIR_ASSETS`?");
}

#[test]
fn what_is_left_out_cannot_be_copied() {
    for (ignore, text, expected) in [
        (
            "a",
            "FROM scratch\nCOPY a /\nADD ./a/b /\nCOPY b /",
            vec!["2 CopyIgnoredFile", "3 CopyIgnoredFile"],
        ),
        ("a", "FROM scratch AS x\nFROM scratch\nCOPY --from=x a /", vec![]),
        ("a\n!b", "FROM scratch\nCOPY a /", vec![]),
        ("*", "FROM scratch\nCOPY . /", vec!["2 CopyIgnoredFile"]),
        (".*", "FROM scratch\nCOPY . /", vec![]),
        ("**", "FROM scratch\nADD https://example.com/a /", vec![]),
    ] {
        assert_eq!(checked(text, Some(ignore), None).0, expected, "{ignore:?} {text}");
    }
}

#[test]
fn comments_describe_what_is_below() {
    let text = "# check=experimental=all\n# bar is it\nARG foo=bar\n# Base is it\nFROM scratch AS base\n# foo is it\nARG foo\n#\nARG x\n";
    assert_eq!(broken(text), ["3 InvalidDefinitionDescription", "5 InvalidDefinitionDescription"]);
    assert!(broken(&text.replace("check=experimental=all", "syntax=x")).is_empty());
}

#[test]
fn rules_can_be_skipped() {
    for (text, expected, fatal) in [
        ("# check=skip=all\nFROM scratch as a", vec![], false),
        ("# check=skip=FromAsCasing;error=true\nFROM scratch as a", vec![], false),
        ("# check=error=true\nFROM scratch as a", vec!["2 FromAsCasing"], true),
        ("FROM scratch\n# check=skip=JSONArgsRecommended // why\nCMD a", vec![], false),
        ("FROM scratch\n# check=skip=UndefinedVar\nCMD a", vec!["3 JSONArgsRecommended"], false),
        ("# check=skip=FromAsCasing\n\nFROM scratch as A", vec!["3 StageNameCasing"], false),
    ] {
        let (warnings, error, found) = checked(text, None, None);
        assert_eq!(warnings, expected, "{text}");
        assert_eq!((error, found), (None, fatal), "{text}");
    }
    let (_, error, _) = checked("# check=skipp=all\nFROM scratch", None, None);
    assert_eq!(
        error.as_deref(),
        Some("`skipp=all` is no option of check: these are skip, experimental, error")
    );
}

#[test]
fn warnings_end_at_what_is_wrong() {
    let (warnings, error, _) = checked("FROM scratch AS Bad\nMAINTAINER me\nBADCMD\nCMD a", None, None);
    assert_eq!(warnings, ["1 StageNameCasing", "2 MaintainerDeprecated"]);
    assert_eq!(error.as_deref(), Some("unknown instruction `BADCMD`"));
    for (text, message) in [
        ("FROM scratch\nCOPY ${a:?say} /", "a: say"),
        ("FROM scratch\nSTOPSIGNAL x", "there is no signal `x`"),
        ("FROM scratch\nCOPY --chmod=9 a b", "--chmod: `9` is no octal mode from 0 to 7777"),
        (
            "FROM scratch\nRUN --mount=type=x a",
            "a mount cannot have `type=x`: it is one of bind, cache, tmpfs, secret, ssh",
        ),
        ("FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b", "the stage `b` begins only on line 3"),
        ("FROM A:b:c", "invalid image reference `A:b:c`: a repository name must be lower-case"),
    ] {
        assert_eq!(checked(text, None, None).1.as_deref(), Some(message), "{text}");
    }
}

#[test]
fn with_a_target_only_what_it_needs_is_checked() {
    let text = "FROM scratch AS a\nCMD a\nFROM scratch AS b\nCMD b\nFROM a AS c\nCMD c";
    assert_eq!(checked(text, None, None).0.len(), 3);
    assert_eq!(checked(text, None, Some("c")).0, ["2 JSONArgsRecommended", "6 JSONArgsRecommended"]);
}

#[test]
fn nobody_reads_more_warnings_than_these() {
    let text = "FROM scratch\n".to_owned() + &"ENV a b\n".repeat(WARNING_LIMIT + 10);
    assert_eq!(broken(&text).len(), WARNING_LIMIT);
}
