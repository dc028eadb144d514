//! Tables of instructions and what they mean, checked against BuildKit's parser; and what is told of wrong ones.

use super::*;

/// The commands of a file with `FROM scratch` in front.
fn commands(text: &str) -> Vec<Command> {
    let text = format!("FROM scratch\n{text}");
    let dockerfile =
        Dockerfile::parse("Dockerfile", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let stage = dockerfile.stages.into_iter().next().expect("a stage");
    stage.instructions.into_iter().map(|instruction| instruction.command).collect()
}

fn command(text: &str) -> Command {
    commands(text).into_iter().next().expect("an instruction")
}

/// What is said of a wrong file: place, sentence, hint.
fn fault(text: &str) -> (String, Option<String>) {
    let error = Dockerfile::parse("Dockerfile", text.as_bytes()).expect_err(text);
    let Position { line, column } = error.position();
    (format!("{line}:{column}: {}", error.message()), error.hint().map(str::to_owned))
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn exec(words: &[&str]) -> CommandLine {
    CommandLine::Exec(words.iter().map(|word| word.to_string()).collect())
}

fn shell(text: &str) -> CommandLine {
    CommandLine::Shell(text.to_owned())
}

#[test]
fn commands_are_json_or_text() {
    for (text, line) in [
        ("CMD []", exec(&[])),
        ("CMD [\"\"]", exec(&[""])),
        ("CMD\t[\t\"a\",\t\"b\"\t]\t", exec(&["a", "b"])),
        (
            "CMD [\"a b\", \"♥\", \"\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0000\"]",
            exec(&["a b", "♥", "\" \\ / \u{8} \u{c} \n \r \t \0"]),
        ),
        ("CMD -- [ ]", exec(&[])),
        ("CMD", shell("")),
        ("CMD echo 'hi' | wc -", shell("echo 'hi' | wc -")),
        ("CMD ['a','b']", shell("['a','b']")),
        ("CMD [\"a\", \"b\"", shell("[\"a\", \"b\"")),
        ("CMD [\"a]", shell("[\"a]")),
        ("CMD \"[\\\"a\\\"]\"", shell("\"[\\\"a\\\"]\"")),
        ("CMD [ a ] && b", shell("[ a ] && b")),
        ("cmd a\\\n  b", shell("a  b")),
    ] {
        assert_eq!(command(text), Command::Cmd(line.clone()), "{text}");
        let entrypoint = text.replacen("CMD", "ENTRYPOINT", 1).replacen("cmd", "entryPoint", 1);
        assert_eq!(command(&entrypoint), Command::Entrypoint(line), "{entrypoint}");
    }
}

#[test]
fn pairs_have_two_forms() {
    let cases: [(&str, &[(&str, &str)]); 9] = [
        ("ENV a b  c", &[("a", "b  c")]),
        ("ENV a 'b=c'", &[("a", "'b=c'")]),
        ("ENV a=b", &[("a", "b")]),
        ("ENV a=b c=\"d e\" f='g' h=", &[("a", "b"), ("c", "\"d e\""), ("f", "'g'"), ("h", "")]),
        ("ENV a=b\\ c d=e=f", &[("a", "b\\ c"), ("d", "e=f")]),
        ("ENV a='b\\' c=d", &[("a", "'b\\'"), ("c", "d")]),
        ("ENV a=1 \\\n  b=2 \\\n\n# x\n  c=\"3 \\\n 4\" \\", &[("a", "1"), ("b", "2"), ("c", "\"3  4\"")]),
        ("ENV \"a b\"=c", &[("\"a b\"", "c")]),
        ("ENV A trailing\\\\", &[("A", "trailing\\\\")]),
    ];
    for (text, expected) in cases {
        let Command::Env(pairs) = command(text) else { panic!("{text}") };
        let found: Vec<_> =
            pairs.iter().map(|pair| (pair.name.text.as_str(), pair.value.text.as_str())).collect();
        assert_eq!(found, expected, "{text}");
        assert!(
            matches!(command(&text.replacen("ENV", "LABEL", 1)), Command::Label(labels) if labels.len() == pairs.len())
        );
        assert_eq!(pairs[0].old_form, !text.contains('=') || text.contains("'b=c'"), "{text}");
    }
}

#[test]
fn arguments_have_defaults_or_not() {
    let Command::Arg(arguments) = command("ARG a b= c=\"d e\" f=$a") else { panic!("not ARG") };
    let found: Vec<_> = arguments
        .iter()
        .map(|argument| (argument.name.as_str(), argument.default.as_ref().map(|word| word.text.as_str())))
        .collect();
    assert_eq!(found, [("a", None), ("b", Some("")), ("c", Some("\"d e\"")), ("f", Some("$a"))]);
}

#[test]
fn files_are_copied_and_added() {
    let Command::Copy(copy) = command(
        "COPY --from=build --chown=1:2 --chmod=u+x --link --parents --exclude=*.md --exclude=x a b\tc",
    ) else {
        panic!("not COPY")
    };
    assert_eq!((texts(&copy.files.sources), copy.files.destination.text.as_str()), (vec!["a", "b"], "c"));
    assert_eq!(copy.from.map(|word| word.text).as_deref(), Some("build"));
    assert_eq!(copy.files.owner.map(|word| word.text).as_deref(), Some("1:2"));
    assert_eq!(copy.files.mode.map(|word| word.text).as_deref(), Some("u+x"));
    assert!(copy.files.link && copy.parents);
    assert_eq!(copy.files.exclude, ["*.md", "x"]);

    let text = "ADD --keep-git-dir=false --checksum=sha256:1 --unpack [ \"a b\", \"c\" ]";
    let Command::Add(add) = command(text) else { panic!("not ADD") };
    assert_eq!((texts(&add.files.sources), add.files.destination.text.as_str()), (vec!["a b"], "c"));
    assert_eq!((add.keep_git_dir, add.unpack, add.files.link), (Some(false), Some(true), false));
    assert_eq!(add.checksum.map(|word| word.text).as_deref(), Some("sha256:1"));
}

#[test]
fn heredocs_are_files_of_copies() {
    let text = "COPY <<a.txt <<-'B' x /dest/\n$x\na.txt\n\t$y\n\tB\nCMD x";
    let commands = commands(text);
    let Command::Copy(copy) = &commands[0] else { panic!("not COPY") };
    assert_eq!(texts(&copy.files.sources), ["x"]);
    let files: Vec<_> = copy
        .files
        .inline
        .iter()
        .map(|heredoc| (heredoc.name.as_str(), heredoc.text(), heredoc.expand))
        .collect();
    assert_eq!(files, [("a.txt", "$x\n".to_owned(), true), ("B", "$y\n".to_owned(), false)]);
    assert_eq!(commands.len(), 2);
}

#[test]
fn heredocs_are_programs() {
    let program = |text: &str| match command(text) {
        Command::Run(run) => run.program(),
        other => panic!("{other:?}"),
    };
    let script = |name: &str, text: &str| Program::Script { name: name.to_owned(), text: text.to_owned() };
    let shell = |text: &str| Program::Shell(text.to_owned());
    for (text, expected) in [
        ("RUN a", shell("a")),
        ("RUN [\"a\", \"<<EOF\"]", Program::Exec(vec!["a".to_owned(), "<<EOF".to_owned()])),
        ("RUN <<EOF\na\n# b\n\nEOF", shell("a\n# b\n\n")),
        ("RUN <<-EOF\n\ta\n\tEOF", shell("a\n")),
        ("RUN << EOF\na\nEOF", shell("a\n")),
        ("RUN <<run.py\n#!/usr/bin/python3\nx\nrun.py", script("run.py", "#!/usr/bin/python3\nx\n")),
        ("RUN <<EOF python3\nx\nEOF", shell("<<EOF python3\nx\nEOF")),
        ("RUN cat <<A 3<<B\n1\nA\n2\nB", shell("cat <<A 3<<B\n1\nA\n2\nB")),
        ("RUN cat \"<<A\"", shell("cat \"<<A\"")),
    ] {
        assert_eq!(program(text), expected, "{text}");
    }
}

#[test]
fn commands_are_run_with_what_flags_say() {
    let text = "RUN --mount=type=cache,target=/x --mount=from=b,target=/y --network=none --security=insecure --device=v/c=d,required a --b";
    let Command::Run(run) = command(text) else { panic!("not RUN") };
    assert_eq!(run.line, shell("a --b"));
    assert_eq!((run.mounts.len(), run.mounts[1].from.as_deref()), (2, Some("b")));
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!(run.devices, [Device { name: "v/c=d".to_owned(), required: true }]);
}

#[test]
fn health_checks() {
    let check = |text: &str| match command(text) {
        Command::Healthcheck(check) => check,
        other => panic!("{other:?}"),
    };
    assert_eq!(check("HEALTHCHECK none"), Healthcheck::None);
    let options = HealthcheckOptions {
        interval: 5_000_000_000,
        timeout: 3_000_000_000,
        start_period: 0,
        start_interval: 1_500_000_000,
        retries: 3,
    };
    let text = "HEALTHCHECK --interval=5s --timeout=3s --start-period=0s --start-interval=1.5s --retries=3 \\\n  CMD /check --quiet";
    assert_eq!(check(text), Healthcheck::Command { line: shell("/check --quiet"), options });
    let options = HealthcheckOptions::default();
    assert_eq!(check("HEALTHCHECK cmd [\"a\"]"), Healthcheck::Command { line: exec(&["a"]), options });
}

#[test]
fn settings_of_images() {
    let words = |texts: &[&str], column: u32| {
        let word = |text: &&str| Word { text: text.to_string(), position: Position { line: 2, column } };
        texts.iter().map(word).collect::<Vec<_>>()
    };
    let word = |text, column| words(&[text], column).remove(0);
    for (text, expected) in [
        ("WORKDIR /a b", Command::Workdir(word("/a b", 9))),
        ("USER $a:b", Command::User(word("$a:b", 6))),
        ("STOPSIGNAL SIGINT", Command::StopSignal(word("SIGINT", 12))),
        ("MAINTAINER A B <c@d>", Command::Maintainer("A B <c@d>".to_owned())),
        ("SHELL [\"a\", \"-c\"]", Command::Shell(vec!["a".to_owned(), "-c".to_owned()])),
        ("VOLUME [\"/a\", \" /b \"]", Command::Volume(words(&["/a", "/b"], 8))),
    ] {
        assert_eq!(command(text), expected, "{text}");
    }
    let Command::Volume(volumes) = command("VOLUME /a /b") else { panic!("not VOLUME") };
    assert_eq!(texts(&volumes), ["/a", "/b"]);
    let Command::Expose(ports) = command("EXPOSE 9000 5000/udp 80-90") else { panic!("not EXPOSE") };
    assert_eq!(texts(&ports), ["5000/udp", "80-90", "9000"]);
}

#[test]
fn triggers_are_kept_as_they_are() {
    for (text, expression) in [
        ("ONBUILD   RUN  a  b", "RUN  a  b"),
        ("onbuild copy --from=x <<E /\n$a\nE", "copy --from=x <<E /\n$a\nE"),
        ("ONBUILD FOO", "FOO"),
    ] {
        assert_eq!(command(text), Command::Onbuild(Trigger { expression: expression.to_owned() }), "{text}");
    }
    let trigger = Dockerfile::trigger("COPY <<E /\nx\nE").expect("an instruction");
    assert!(matches!(trigger.command, Command::Copy(copy) if copy.files.inline.len() == 1));
    for text in ["", "FOO", "FROM x", "RUN a\nRUN b", "COPY a"] {
        assert!(Dockerfile::trigger(text).is_err(), "{text}");
    }
}

#[test]
fn stages_have_names_and_platforms() {
    let text =
        "# syntax=x\nARG v=1\nfrom --platform=$BUILDPLATFORM golang:$v As Build\nRUN a\n\nFROM scratch";
    let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
    assert_eq!(dockerfile.globals.len(), 1);
    let [build, last] = dockerfile.stages.as_slice() else { panic!("{} stages", dockerfile.stages.len()) };
    let name = build.name.as_ref().expect("a name");
    assert_eq!(
        (name.name.as_str(), name.written.text.as_str(), name.keyword.as_str()),
        ("build", "Build", "As")
    );
    assert_eq!(build.platform.as_ref().map(|word| word.text.as_str()), Some("$BUILDPLATFORM"));
    assert_eq!(
        (build.base.text.as_str(), build.keyword.as_str(), build.instructions.len()),
        ("golang:$v", "from", 1)
    );
    assert_eq!((last.base.text.as_str(), last.name.is_none()), ("scratch", true));
    assert_eq!(build.base.position, Position { line: 3, column: 32 });
}

#[test]
fn spans_hold_heredocs_and_continued_lines() {
    let text = "FROM a\nRUN b \\\n  c\nRUN <<E\nx\nE\n  COPY a b\n";
    let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
    let spans: Vec<_> = dockerfile.stages[0]
        .instructions
        .iter()
        .map(|instruction| {
            (instruction.span.start.line, instruction.span.start.column, instruction.span.last_line)
        })
        .collect();
    assert_eq!(spans, [(2, 1, 3), (4, 1, 6), (7, 3, 7)]);
    assert_eq!(dockerfile.stages[0].instructions[0].original, "RUN b   c");
}

#[test]
fn wrong_instructions_are_told_with_their_place() {
    for (text, message) in [
        ("FORM a", "1:1: unknown instruction `FORM`"),
        ("FROM a\nRUN b\n&& c", "3:1: unknown instruction `&&`"),
        ("FROM a\nRUN b \\\n  && --c\n  CPOY a b", "4:3: unknown instruction `CPOY`"),
        ("RUN a\nFROM b", "1:1: `RUN` stands before the first `FROM`"),
        ("", "1:1: the file has no instructions"),
        ("# a\n\n", "2:1: the file has no instructions"),
        ("ARG a\n", "1:1: the file has no `FROM`"),
        ("FROM", "1:1: `FROM` needs the name of an image"),
        ("FROM a b", "1:8: `b` means nothing here"),
        ("FROM a AS 1b", "1:11: `1b` cannot be the name of a stage"),
        ("FROM --plaform=x a", "1:6: unknown flag `--plaform`"),
        ("FROM a\nCOPY a", "2:1: `COPY` needs at least one source and a destination"),
        ("FROM a\nCOPY \\\n  --from=x --links \\\n  a b", "3:12: unknown flag `--links`"),
        ("FROM a\nCOPY --checksum=a b c", "2:6: unknown flag `--checksum`"),
        ("FROM a\nCOPY a <<EOF\nEOF", "2:8: a heredoc cannot be the destination"),
        ("FROM a\nCOPY << EOF /x\nEOF", "2:1: this line opens a heredoc whose name has space in it"),
        ("FROM a\nRUN b <<EOF\nc", "2:7: the heredoc `EOF` does not end"),
        ("FROM a\nRUN [\"a\", 1]", "2:5: the JSON array holds something else than strings"),
        ("FROM a\nRUN --network=x a", "2:5: `--network` is `default`, `none` or `host`, not `x`"),
        ("FROM a\nRUN --security=x a", "2:5: `--security` is `sandbox` or `insecure`, not `x`"),
        ("FROM a\nRUN --mount=from=$x a", "2:5: `from` of a mount cannot have variables"),
        ("FROM a\nRUN --device=a,required=x b", "2:5: `required` is true or false, not `x`"),
        ("FROM a\nENV", "2:1: `ENV` needs an argument"),
        ("FROM a\nENV b", "2:5: `b` has no value"),
        ("FROM a\nENV b=c d", "2:9: `d` has no `=`"),
        ("FROM a\nLABEL =c", "2:7: a name is missing in front of `=`"),
        ("FROM a\nARG =c", "2:5: a name is missing in front of `=`"),
        ("FROM a\nARG --b c", "2:5: unknown flag `--b`"),
        ("FROM a\nSHELL a -c", "2:1: `SHELL` needs a JSON array of at least one string"),
        ("FROM a\nSHELL []", "2:1: `SHELL` needs a JSON array of at least one string"),
        ("FROM a\nVOLUME [\" \"]", "2:1: `VOLUME` needs the path of a directory"),
        ("FROM a\nHEALTHCHECK", "2:1: `HEALTHCHECK` needs an argument"),
        ("FROM a\nHEALTHCHECK NONE x", "2:18: nothing can follow `HEALTHCHECK NONE`"),
        ("FROM a\nHEALTHCHECK CMD", "2:1: a command is missing behind `HEALTHCHECK CMD`"),
        ("FROM a\nHEALTHCHECK CONNECT TCP", "2:13: `HEALTHCHECK CONNECT` means nothing"),
        ("FROM a\nHEALTHCHECK --timeout=50ns CMD x", "2:13: --timeout: `50ns` is shorter than a millisecond"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", "2:13: --retries: `-1` is no number of times"),
        ("FROM a\nONBUILD ONBUILD RUN x", "2:9: `ONBUILD` cannot follow `ONBUILD`"),
        ("FROM a\nONBUILD from x", "2:9: `FROM` cannot follow `ONBUILD`"),
        ("FROM a\nONBUILD ENV x", "2:13: `x` has no value"),
        ("FROM a\nWORKDIR", "2:1: `WORKDIR` needs an argument"),
    ] {
        assert_eq!(fault(text).0, message, "{text:?}");
    }
}

#[test]
fn mistakes_are_answered_with_advice() {
    for (text, hint) in [
        ("FORM a", "did you mean `FROM`?"),
        ("FROM a\nentrypiont b", "did you mean `ENTRYPOINT`?"),
        ("FROM a\nRUN b\n&& c", "a backslash at the end of the line above lets it go on here"),
        ("FROM a\nCOPY --form=b c d", "did you mean `--from`?"),
        ("FROM a b", "write `FROM image` or `FROM image AS name`"),
        ("FROM a\nRUN <<E\nx", "a line that says only `E` ends it"),
        ("FROM a\nENV b", "write `ENV b=value`"),
    ] {
        assert_eq!(fault(text).1.as_deref(), Some(hint), "{text:?}");
    }
}

#[test]
fn only_what_is_used_must_be_text() {
    assert!(Dockerfile::parse("f", b"FROM a\n# caf\xe9\nRUN b\n").is_ok());
    for text in [b"FROM a\nRUN caf\xe9\n".as_slice(), b"FROM a\nRUN <<E\ncaf\xe9\nE\n"] {
        let error = Dockerfile::parse("f", text).expect_err("a fault");
        assert_eq!((error.position().line, error.message()), (2, "this instruction is not written in UTF-8"));
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let kind = |text: &str| Dockerfile::parse("f", text.as_bytes()).map(|_| ()).map_err(|error| error.kind());
    let many = |count: usize| format!("FROM a\n{}", "RUN b\n".repeat(count - 1));
    assert_eq!(kind(&many(INSTRUCTION_LIMIT)), Ok(()));
    assert_eq!(kind(&many(INSTRUCTION_LIMIT + 1)), Err(Kind::TooLarge));
    assert_eq!(
        kind(&format!("FROM a\nRUN {}\n{}", "<<E ".repeat(101), "E\n".repeat(101))),
        Err(Kind::TooLarge)
    );
    let text = "FROM a\nRUN ".to_owned();
    assert_eq!(kind(&(text.clone() + &"x".repeat(SIZE_LIMIT - text.len()))), Ok(()));
    assert_eq!(kind(&(text.clone() + &"x".repeat(SIZE_LIMIT))), Err(Kind::TooLarge));
}

#[test]
fn a_file_is_read_up_to_what_is_wrong() {
    let parsed = Dockerfile::parse_far("f", b"FROM a AS B\nMAINTAINER c\nBAD\nRUN d");
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 1);
    assert_eq!(parsed.error.map(|error| error.position().line), Some(3));
}
