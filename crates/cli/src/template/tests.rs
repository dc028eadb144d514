//! Templates as people write them for Docker, and templates as nobody should write them.

use serde_json::{Value, json};

use super::Template;

fn document() -> Value {
    json!({
        "ID": "abc", "Names": "web", "Status": "Up", "Empty": "", "Count": 3, "None": null, "Yes": true,
        "State": {"Running": true, "Pid": 42, "ExitCode": 0},
        "Config": {"Labels": {"com.example.a": "1", "b": "2"}, "Env": ["A=1", "B=2"]},
        "Mounts": [{"Source": "/a", "Destination": "/b"}, {"Source": "/c", "Destination": "/d"}],
        "Label": {"com.example.a": "1"},
    })
}

fn render(source: &str) -> String {
    let result = Template::parse(source).and_then(|template| template.render(&document()));
    result.unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn fields_and_text() {
    assert_eq!(render("{{.ID}}: {{.Names}}"), "abc: web");
    assert_eq!(render("{{.State.Pid}} {{ .State.Running }} {{.None}}"), "42 true <no value>");
    assert_eq!(render("{{.Config.Env}} {{.Config.Labels}}"), "[A=1 B=2] map[b:2 com.example.a:1]");
    assert_eq!(render("no action"), "no action");
    assert_eq!(render("{{$.ID}}{{(.State).Pid}}"), "abc42");
}

#[test]
fn backslashes_mean_something_in_lists_only() {
    for (template, row) in [(r"{{.ID}}\t{{.Names}}\n", "abc\tweb\n"), (r"a\\b\c", r"a\b\c")] {
        let parsed = Template::parse_row(template).expect("valid");
        assert_eq!(parsed.render(&document()).expect("rendered"), row);
    }
    assert_eq!(render(r#"{{.ID}}\t\n\\{{print `a` "b\t"}}"#), "abc\\t\\n\\\\ab\t");
}

#[test]
fn what_is_absent_is_shown_as_go_shows_it() {
    let document = json!({
        "Config": {"Cmd": null, "Volumes": null, "Labels": {"Kind": "x"}, "Healthcheck": null},
        "HostConfig": {"Tmpfs": {}},
    });
    for (template, text) in [
        ("{{.Config.Cmd}} {{.Config.Volumes}} {{.Config.Healthcheck}}", "[] map[] <no value>"),
        ("{{json .Config.Cmd}} {{len .Config.Cmd}} {{len .Config.Volumes}}", "null 0 0"),
        (
            "{{.Config.Labels.missing}} {{.Config.Labels.Cmd}} {{.Config.Labels.Kind}}",
            "<no value> <no value> x",
        ),
        ("{{.Config.Volumes.missing}} {{.HostConfig.Tmpfs.missing}}", "<no value> <no value>"),
        ("{{range .Config.Cmd}}x{{end}}{{if .Config.Cmd}}x{{end}}", ""),
    ] {
        let rendered = Template::parse(template).and_then(|template| template.render(&document));
        assert_eq!(rendered.as_deref(), Ok(text), "{template}");
    }
    for template in ["{{.Config.Nope}}", "{{.Nope}}", "{{.Config.Healthcheck.Test}}"] {
        let rendered = Template::parse(template).and_then(|template| template.render(&document));
        assert!(rendered.is_err(), "{template}");
    }
}

#[test]
fn functions() {
    for (template, text) in [
        ("{{json .State}}", r#"{"Running":true,"Pid":42,"ExitCode":0}"#),
        ("{{.Names | json}}", r#""web""#),
        ("{{join .Config.Env \",\"}}", "A=1,B=2"),
        ("{{index .Config.Labels \"com.example.a\"}}", "1"),
        ("{{index .Config.Labels \"nope\"}}|", "|"),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ("{{upper .Names}}{{lower `ABC`}}{{title .Names}}", "WEBabcWeb"),
        ("{{len .Config.Env}}{{len .Names}}", "23"),
        ("{{println .ID .Names}}", "abc web\n"),
        ("{{printf \"%s=%d %q%%\" .ID .Count .Names}}", "abc=3 \"web\"%"),
        ("{{split \"a:b\" \":\"}}", "[a b]"),
        ("{{truncate .Names 2}}|{{pad .Names 1 2}}|", "we| web  |"),
        (
            "{{eq .Count 3}} {{eq .ID \"x\" \"abc\"}} {{ne .Count 3}} {{lt 1 2}} {{ge 1.5 2}}",
            "true true false true false",
        ),
        ("{{and .Yes .Empty}}|{{or .Empty .ID}}|{{not .Empty}}", "|abc|true"),
        ("{{.Label \"com.example.a\"}}{{.Label \"nope\"}}", "1"),
    ] {
        assert_eq!(render(template), text, "{template}");
    }
}

#[test]
fn blocks() {
    for (template, text) in [
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if eq .Count 3}}b{{else}}c{{end}}", "b"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=2]"),
        ("{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}", "/a:/b /c:/d "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "b=2;com.example.a=1;"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{with .State}}{{.Pid}} {{$.ID}}{{end}}", "42 abc"),
        ("{{$x := .ID}}{{range .Config.Env}}{{$x}}{{end}}{{$x = .Names}}{{$x}}", "abcabcweb"),
        ("a {{- /* said once */ -}} b", "ab"),
        ("a  {{- .ID -}}  b", "aabcb"),
    ] {
        assert_eq!(render(template), text, "{template}");
    }
}

#[test]
fn faults_name_template_and_place() {
    for (template, text) in [
        ("{{.ID", "character 1: unclosed action"),
        ("ä{{.Nope}}", "character 4: there is no field `Nope` here"),
        ("{{.ID.Sub}}", "character 6: a text has no field `Sub`"),
        ("{{nope .ID}}", "character 3: function `nope` is not defined"),
        ("{{upper .Count}}", "character 3: `upper` needs a text, not a number"),
        ("{{upper}}", "character 3: `upper` does not take 0 argument(s) like these"),
        ("{{if .ID}}", "character 3: the block has no `end`"),
        ("{{end}}", "character 3: `end` without a block that it ends"),
        ("{{$x}}", "character 3: undefined variable `$x`"),
        ("{{index .Config.Env 9}}", "character 3: index 9 of a list of 2"),
        ("{{\"a}}", "character 3: unterminated string"),
        ("{{}}", "character 3: a value or a function expected"),
        ("{{template \"x\"}}", "character 3: `template` is not supported"),
        ("{{.ID ! }}", "character 7: unexpected `!`"),
    ] {
        assert_eq!(render(template), format!("error: template `{template}`, {text}"));
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("{{if .ID}}", "{{end}}"), ("(", ")")] {
        let inside = format!("{}{}", open.repeat(10_000), close.repeat(10_000));
        let template = if open == "(" { format!("{{{{{inside}}}}}") } else { inside };
        assert!(render(&template).starts_with("error: "), "{open}");
    }
}

#[test]
fn work_and_values_are_bounded() {
    let doubled = format!("{{{{$x := .ID}}}}{}", "{{$x = print $x $x}}".repeat(60));
    assert!(render(&doubled).contains("a value is longer than 4 MiB"));
    let many = format!(
        "{{{{$x := print .ID}}}}{}{{{{print {}}}}}",
        "{{$x = print $x $x}}".repeat(20),
        "$x ".repeat(9000)
    );
    assert!(render(&many).contains("a value is longer than 4 MiB"));
    let list = "{{$l := split `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` ``}}";
    let nested = format!("{list}{}{}", "{{range $l}}".repeat(12), "{{end}}".repeat(12));
    assert!(render(&nested).contains("too many steps"));
    let grown = format!("{{{{$x := .ID}}}}{}", "{{$x = print $x $x}}".repeat(16));
    assert!(render(&format!("{grown}{{{{split $x ``}}}}")).contains("more than 65536 parts"));
    let joined = format!("{grown}{list}{{{{join $l $x}}}}");
    assert!(render(&joined).contains("longer than 4 MiB"));
}

#[test]
fn any_text_is_parsed_or_refused() {
    let pieces = [
        "{{", "}}", ".", "ID", " ", "-", "|", "(", ")", "\"", "`", "$", ":=", ",", "if", "range", "end",
        "else", "ä", "\\", "/*", "*/", "index", "9", ".State", "=", "json",
    ];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..20_000 {
        let mut source = String::new();
        for _ in 0..(state % 13) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state % pieces.len() as u64).expect("small");
            source.push_str(pieces[at]);
        }
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        render(&source);
    }
}
