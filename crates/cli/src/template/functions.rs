//! The functions of templates: Go's own, and those that Docker adds.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

/// Widest padding in characters.
const PAD_LIMIT: usize = 10_000;
/// Most parts of a split text.
const PARTS_LIMIT: usize = 1 << 16;
/// Longest separators in a joined list, in bytes together.
const SEPARATORS_LIMIT: usize = 4 << 20;

/// Calls a function.
///
/// # Errors
/// What is wrong with its name or its arguments.
pub fn call(name: &str, arguments: Vec<Value>) -> Result<Value, String> {
    match (name, arguments.as_slice()) {
        ("json", [value]) => Ok(Value::from(value.to_string())),
        ("upper", [value]) => Ok(Value::from(string(name, value)?.to_uppercase())),
        ("lower", [value]) => Ok(Value::from(string(name, value)?.to_lowercase())),
        ("title", [value]) => Ok(Value::from(title(string(name, value)?))),
        ("len", [value]) => length(value).map(Value::from),
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("join", [list, separator]) => join(list, string(name, separator)?),
        ("split", [value, separator]) => split(string(name, value)?, string(name, separator)?),
        ("truncate", [value, length]) => truncate(string(name, value)?, length),
        ("pad", [value, before, after]) => pad(string(name, value)?, before, after),
        ("println", values) => Ok(Value::from(spaced(values) + "\n")),
        ("print", values) => Ok(Value::from(values.iter().map(text).collect::<String>())),
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).map(Value::from),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("and", [first, rest @ ..]) => Ok(pick(first, rest, false)),
        ("or", [first, rest @ ..]) => Ok(pick(first, rest, true)),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            Ok(Value::Bool(rest.iter().any(|other| compare(first, other) == Some(Ordering::Equal))))
        }
        ("ne", [a, b]) => Ok(Value::Bool(compare(a, b) != Some(Ordering::Equal))),
        ("lt" | "le" | "gt" | "ge", [a, b]) => ordered(name, a, b),
        (known, given) if KNOWN.contains(&known) => {
            Err(format!("`{known}` does not take {} argument(s) like these", given.len()))
        }
        (unknown, _) => Err(format!("function `{unknown}` is not defined")),
    }
}

const KNOWN: [&str; 22] = [
    "json", "upper", "lower", "title", "len", "not", "join", "split", "truncate", "pad", "println", "print",
    "printf", "index", "and", "or", "eq", "ne", "lt", "le", "gt", "ge",
];

/// Whether Go's templates take a value for true: not false, 0, empty or nothing.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", spaced(items)),
        Value::Object(map) => {
            let mut entries: Vec<_> =
                map.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// Bytes of the texts in a value, and a few for whatever else is in it.
pub fn size(value: &Value) -> usize {
    const SMALL: usize = 8;
    match value {
        Value::String(text) => text.len() + SMALL,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + SMALL,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() + SMALL,
        Value::Null | Value::Bool(_) | Value::Number(_) => SMALL,
    }
}

/// What a value is, for messages.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn spaced(values: &[Value]) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn string<'a>(function: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("`{function}` needs a text, not {}", type_name(value)))
}

fn title(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        // A list or a map that is absent.
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("`len` of {}", type_name(other))),
    }
}

fn join(list: &Value, separator: &str) -> Result<Value, String> {
    match list {
        Value::Null => Ok(Value::from("")),
        Value::Array(items) if items.len().saturating_mul(separator.len()) > SEPARATORS_LIMIT => {
            Err("`join` would give a value longer than 4 MiB".to_owned())
        }
        Value::Array(items) => Ok(Value::from(items.iter().map(text).collect::<Vec<_>>().join(separator))),
        other => Err(format!("`join` needs a list, not {}", type_name(other))),
    }
}

fn split(text: &str, separator: &str) -> Result<Value, String> {
    // Without a separator a text falls into its characters.
    let parts: Vec<String> = match separator {
        "" => text.chars().take(PARTS_LIMIT + 1).map(String::from).collect(),
        _ => text.split(separator).take(PARTS_LIMIT + 1).map(String::from).collect(),
    };
    match parts.len() > PARTS_LIMIT {
        true => Err(format!("`split` gives more than {PARTS_LIMIT} parts")),
        false => Ok(Value::from(parts)),
    }
}

fn truncate(text: &str, length: &Value) -> Result<Value, String> {
    let length = natural("truncate", length)?;
    Ok(Value::from(text.chars().take(length).collect::<String>()))
}

fn pad(text: &str, before: &Value, after: &Value) -> Result<Value, String> {
    let (before, after) = (natural("pad", before)?, natural("pad", after)?);
    if text.is_empty() || before.max(after) > PAD_LIMIT {
        return Ok(Value::from(text));
    }
    Ok(Value::from(format!("{}{text}{}", " ".repeat(before), " ".repeat(after))))
}

fn natural(function: &str, value: &Value) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("`{function}` needs a number that is not negative"))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(map), Value::String(key)) => {
            Ok(map.get(key).cloned().unwrap_or_else(|| Value::from("")))
        }
        (Value::Array(items), key) => {
            let at = key.as_u64().and_then(|at| usize::try_from(at).ok());
            let item = at.and_then(|at| items.get(at)).cloned();
            item.ok_or_else(|| format!("index {} of a list of {}", text(key), items.len()))
        }
        (Value::Null, _) => Ok(Value::Null),
        (value, key) => Err(format!("{} cannot be indexed by {}", type_name(value), type_name(key))),
    }
}

/// `and` gives the first false value or the last, `or` the first true value or the last.
fn pick(first: &Value, rest: &[Value], wanted: bool) -> Value {
    let mut all = std::iter::once(first).chain(rest);
    let decisive = all.clone().find(|value| is_true(value) == wanted);
    decisive.or_else(|| all.next_back()).cloned().unwrap_or(Value::Null)
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

fn ordered(name: &str, a: &Value, b: &Value) -> Result<Value, String> {
    let incomparable = || format!("`{name}` cannot compare {} with {}", type_name(a), type_name(b));
    if matches!(a, Value::Array(_) | Value::Object(_) | Value::Bool(_) | Value::Null) {
        return Err(incomparable());
    }
    let order = compare(a, b).ok_or_else(incomparable)?;
    Ok(Value::Bool(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

/// `%s`, `%v`, `%d` print a value, `%q` prints it quoted, `%%` is a percent sign.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut result = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let verb = chars.next();
        let mut value = || values.next().ok_or_else(|| "`printf` has too few arguments".to_owned());
        match verb {
            Some('%') => result.push('%'),
            Some('s' | 'v' | 'd') => result.push_str(&text(value()?)),
            Some('q') => {
                let _ = write!(result, "{:?}", text(value()?));
            }
            _ => return Err("`printf` knows %s, %v, %d, %q and %%".to_owned()),
        }
    }
    match values.next() {
        None => Ok(result),
        Some(_) => Err("`printf` has too many arguments".to_owned()),
    }
}
