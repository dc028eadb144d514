//! Lists in every form: a table for people, JSON for programs, or the user's own template.
//!
//! `--format` is `table`, `table TEMPLATE`, `json`, or `TEMPLATE`, as with Docker; JSON is one object a line.

use serde_json::{Map, Value};

use crate::command_error::CommandError;
use crate::table;
use crate::template::Template;

/// What a list shows of each of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in templates and JSON.
    pub name: &'static str,
    /// Its heading in tables.
    pub heading: &'static str,
}

/// One row: a value for each field, in the same order.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Values by field name.
    pub values: Map<String, Value>,
    /// What only templates see: `.Label "name"`.
    pub hidden: Map<String, Value>,
}

impl Row {
    /// A row of texts.
    pub fn new(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        Self { values, hidden: Map::new() }
    }

    /// The same row with another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: String) -> Self {
        self.values.insert(name.to_owned(), Value::from(value));
        self
    }

    fn text(&self, name: &str) -> String {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn for_template(&self) -> Value {
        let all = self.values.iter().chain(&self.hidden);
        Value::Object(all.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

/// The form of a list.
#[derive(Debug)]
pub enum Format {
    /// The usual columns.
    Table,
    /// Columns by template.
    TableOf(Template),
    /// One object a line.
    Json,
    /// One line a row.
    Lines(Template),
}

impl Format {
    /// Parses `--format`.
    ///
    /// # Errors
    /// The template is none.
    pub fn parse(text: Option<&str>) -> Result<Self, CommandError> {
        match text {
            None | Some("" | "table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(template) => {
                    Template::parse_row(template.trim_start()).map(Self::TableOf).map_err(unusable)
                }
                None => Template::parse_row(text).map(Self::Lines).map_err(unusable),
            },
        }
    }
}

/// A template that cannot be used.
pub fn unusable(error: crate::template::TemplateError) -> CommandError {
    CommandError::new(format!("--format: {error}"))
}

/// The whole list as text. `columns` are the usual table's.
///
/// # Errors
/// The template asks for something that is not there.
pub fn render(
    format: &Format,
    fields: &[Field],
    columns: &[&str],
    rows: &[Row],
) -> Result<String, CommandError> {
    match format {
        Format::Table => Ok(usual_table(fields, columns, rows)),
        Format::TableOf(template) => table_of(template, fields, rows),
        Format::Json => {
            Ok(rows.iter().map(|row| format!("{}\n", Value::Object(row.values.clone()))).collect())
        }
        Format::Lines(template) => {
            let lines = rows.iter().map(|row| template.render(&row.for_template()).map(|line| line + "\n"));
            lines.collect::<Result<String, _>>().map_err(unusable)
        }
    }
}

fn usual_table(fields: &[Field], columns: &[&str], rows: &[Row]) -> String {
    let heading = |name: &&str| {
        fields.iter().find(|field| field.name == *name).map_or(*name, |field| field.heading).to_owned()
    };
    let mut cells: Vec<Vec<String>> = vec![columns.iter().map(heading).collect()];
    cells.extend(rows.iter().map(|row| columns.iter().map(|name| row.text(name)).collect()));
    table::render(&cells)
}

fn table_of(template: &Template, fields: &[Field], rows: &[Row]) -> Result<String, CommandError> {
    let mut headings = Row::new(fields.iter().map(|field| (field.name, field.heading.to_owned())));
    headings.hidden.insert("Label".to_owned(), Value::from("LABEL"));
    let mut cells = Vec::with_capacity(rows.len() + 1);
    for row in std::iter::once(&headings).chain(rows) {
        let line = template.render(&row.for_template()).map_err(unusable)?;
        cells.push(line.trim_end_matches('\n').split('\t').map(String::from).collect());
    }
    Ok(table::render(&cells))
}

/// Cuts a text to `length` characters, the last of which is then `…`.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// A text in double quotes, with what is not printable written as Go does.
pub fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => result.extend(['\\', c]),
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            '\r' => result.push_str("\\r"),
            c if u32::from(c) < 0x80 && c.is_control() => {
                result.push_str(&format!("\\x{:02x}", u32::from(c)))
            }
            c if c.is_control() => result.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => result.push(c),
        }
    }
    result.push('"');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [Field; 2] =
        [Field { name: "ID", heading: "THE ID" }, Field { name: "Names", heading: "NAMES" }];

    fn rendered(format: Option<&str>) -> String {
        let mut row = Row::new([("ID", "abc".to_owned()), ("Names", "web".to_owned())]);
        row.hidden.insert("Label".to_owned(), serde_json::json!({"a.b": "1"}));
        let format = Format::parse(format).expect("valid");
        render(&format, &FIELDS, &["ID", "Names"], &[row]).unwrap_or_else(|error| format!("{error:?}"))
    }

    #[test]
    fn every_form() {
        assert_eq!(rendered(None), "THE ID    NAMES\nabc       web\n");
        assert_eq!(rendered(Some("json")), "{\"ID\":\"abc\",\"Names\":\"web\"}\n");
        assert_eq!(rendered(Some("{{.Names}}:{{.ID}}")), "web:abc\n");
        assert_eq!(rendered(Some(r"table {{.Names}}\t{{.ID}}")), "NAMES     THE ID\nweb       abc\n");
        assert_eq!(rendered(Some(r#"table {{.ID}}\t{{.Label "a.b"}}"#)), "THE ID    B\nabc       1\n");
        assert!(rendered(Some("{{.Nope}}")).contains("there is no field `Nope` here"));
        assert!(Format::parse(Some("{{.ID")).is_err());
    }

    #[test]
    fn cells() {
        assert_eq!(ellipsis("short", 5), "short");
        assert_eq!(ellipsis("sleep infinity and more", 20), "sleep infinity and …");
        assert_eq!(quoted("a \"b\"\n\u{1}…"), r#""a \"b\"\n\x01…""#);
    }
}
