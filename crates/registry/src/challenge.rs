//! What a registry says in `WWW-Authenticate` when it wants to know who asks (RFC 9110 section 11.6.1). Pure.

/// Longest header that is looked at, in bytes.
const LIMIT: usize = 8 << 10;

/// A way to say who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request (RFC 7617).
    Basic,
    /// A token from the server at `realm` (RFC 6750, and the distribution project's token specification).
    Bearer {
        /// Address of the server that gives tokens.
        realm: String,
        /// What it calls the registry.
        service: Option<String>,
    },
}

/// The challenges in a header that are known; of others, and of what is malformed, nothing.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    if header.len() > LIMIT {
        return challenges;
    }
    let mut rest = header;
    while let Some((scheme, parameters, behind)) = next(rest) {
        challenges.extend(challenge(scheme, &parameters));
        rest = behind;
    }
    challenges
}

fn challenge(scheme: &str, parameters: &[Parameter<'_>]) -> Option<Challenge> {
    let value = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: value("realm")?, service: value("service") }),
        _ => None,
    }
}

/// A parameter: its name and its value.
type Parameter<'a> = (&'a str, String);

/// A scheme with its parameters, and what stands behind them.
fn next(text: &str) -> Option<(&str, Vec<Parameter<'_>>, &str)> {
    let (scheme, mut rest) = token(separated(text))?;
    let mut parameters = Vec::new();
    while let Some((name, value, behind)) = parameter(separated(rest)) {
        parameters.push((name, value));
        rest = behind;
    }
    Some((scheme, parameters, rest))
}

fn separated(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}

/// `name=value`, where the value may be quoted. A word without a value is the next scheme.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => quoted_string(quoted).map(|(value, rest)| (name, value, rest)),
        None => token(rest).map(|(value, rest)| (name, value.to_owned(), rest)),
    }
}

fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// A word of the characters that RFC 9110 section 5.6.2 allows.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token =
        |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(character);
    let end = text.find(|character| !is_token(character)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn what_registries_say() {
        for (header, expected) in [
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
                vec![bearer("https://auth.example/token", Some("registry.example"))],
            ),
            (r#"bearer realm = https://a/t , scope=x"#, vec![bearer("https://a/t", None)]),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm="c\"d""#,
                vec![Challenge::Basic, bearer("c\"d", None)],
            ),
            (r#"Digest nonce="1", Basic"#, vec![Challenge::Basic]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_malformed_means_nothing() {
        for header in
            ["", ",", "=", "\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"open", "Bearer realm=\"\\"]
        {
            assert_eq!(parse(header), [], "{header}");
        }
        assert_eq!(parse(&"Basic ".repeat(LIMIT)), []);
    }
}
