//! Stacks of layers beside each other, drawn with the characters of boxes, or with ASCII where these cannot be shown.
//!
//! All stand on one ground: the lowest layers are on one line, so the higher stack has more between hardware and top.

/// Blanks between stacks.
const GAP: usize = 4;

/// A stack with its name, layers from the lowest to the highest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Stands over it.
    pub name: String,
    /// What lies on what.
    pub layers: Vec<String>,
}

/// What lines are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pen {
    horizontal: char,
    vertical: char,
    /// Left and right ends of the line above the highest layer, between two, and below the lowest.
    ends: [[char; 2]; 3],
}

impl Pen {
    /// Box drawing characters.
    pub const BOXES: Self =
        Self { horizontal: '─', vertical: '│', ends: [['┌', '┐'], ['├', '┤'], ['└', '┘']] };
    /// ASCII.
    pub const ASCII: Self = Self { horizontal: '-', vertical: '|', ends: [['+', '+']; 3] };

    /// The one for what the locale says: the first of these variables that is set counts (locale(7)).
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let locale = names.into_iter().filter_map(variable).find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_ascii_uppercase();
        if locale.contains("UTF-8") || locale.contains("UTF8") { Self::BOXES } else { Self::ASCII }
    }
}

/// Draws stacks from left to right.
pub fn stacks(stacks: &[Stack], pen: Pen) -> String {
    let drawn: Vec<Vec<String>> = stacks.iter().map(|stack| lines(stack, pen)).collect();
    let height = drawn.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for row in 0..height {
        let mut line = String::new();
        for stack in &drawn {
            let width = stack.last().map_or(0, |line| line.chars().count());
            let above = height - stack.len();
            let part = row.checked_sub(above).and_then(|row| stack.get(row)).map_or("", String::as_str);
            line.push_str(&format!("{part:<width$}{:GAP$}", ""));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Its lines, the last of which is as long as any.
fn lines(stack: &Stack, pen: Pen) -> Vec<String> {
    let inner = stack.layers.iter().chain([&stack.name]).map(|text| text.chars().count()).max().unwrap_or(0);
    let rule = |[left, right]: [char; 2]| {
        let line: String = std::iter::repeat_n(pen.horizontal, inner + 2).collect();
        format!("{left}{line}{right}")
    };
    let [top, between, bottom] = pen.ends;
    let mut lines = vec![format!("  {}", stack.name), rule(top)];
    for (number, layer) in stack.layers.iter().rev().enumerate() {
        if number > 0 {
            lines.push(rule(between));
        }
        lines.push(format!("{0} {layer:<inner$} {0}", pen.vertical));
    }
    lines.push(rule(bottom));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(name: &str, layers: &[&str]) -> Stack {
        Stack { name: name.to_owned(), layers: layers.iter().map(|&layer| layer.to_owned()).collect() }
    }

    #[test]
    fn all_stand_on_one_ground() {
        let two = [stack("low", &["earth", "top"]), stack("high", &["earth", "a tower", "top"])];
        insta::assert_snapshot!(stacks(&two, Pen::BOXES), @"
                       high
                     ┌─────────┐
          low        │ top     │
        ┌───────┐    ├─────────┤
        │ top   │    │ a tower │
        ├───────┤    ├─────────┤
        │ earth │    │ earth   │
        └───────┘    └─────────┘
        ");
        insta::assert_snapshot!(stacks(&two[..1], Pen::ASCII), @"
          low
        +-------+
        | top   |
        +-------+
        | earth |
        +-------+
        ");
        assert_eq!(stacks(&[], Pen::ASCII), "");
    }

    #[test]
    fn the_locale_tells_which_characters_are_shown() {
        let pen = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
            Pen::of_locale(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(pen(&[("LANG", "de_DE.UTF-8")]), Pen::BOXES);
        assert_eq!(pen(&[("LANG", "C"), ("LC_CTYPE", "C.utf8"), ("LC_ALL", "")]), Pen::BOXES);
        assert_eq!(pen(&[("LANG", "C.UTF-8"), ("LC_ALL", "POSIX")]), Pen::ASCII);
        assert_eq!(pen(&[]), Pen::ASCII);
    }
}
