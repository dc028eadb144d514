//! What people see: headings, commands, indented output, aligned tables. Colour only on a terminal, and never as the
//! only carrier of a meaning.

use std::io::IsTerminal;
use std::time::Duration;

/// How far what a command said is indented.
const INDENT: &str = "    ";

/// Starts a part of the story.
pub fn heading(text: &str) {
    println!("\n{}", bold(&format!("== {text}")));
}

/// Says something in plain words.
pub fn say(text: &str) {
    println!("{text}");
}

/// Shows a command as it would be typed.
pub fn typed(command: &str) {
    println!("  {}", bold(&format!("$ {command}")));
}

/// Shows what a command answered.
pub fn answered(text: &str) {
    for line in text.lines() {
        println!("{}", format!("{INDENT}{line}").trim_end());
    }
}

/// Shows `rows` in aligned columns; the first row is the header.
pub fn table<R: AsRef<[String]>>(rows: &[R]) {
    answered(&aligned(rows));
}

/// A duration for people: `0.84 ms`, `12.3 s`, `4 min 10 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        _ if seconds < 100.0 => format!("{seconds:.1} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// A size for people, in KiB or MiB.
pub fn size(bytes: u64) -> String {
    let kib = bytes.div_ceil(1024);
    if kib < 10 * 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) }
}

fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.as_ref().get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn bold(text: &str) -> String {
    let wanted =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["limit".to_owned(), "asked".to_owned()], vec!["memory".to_owned(), "256m".to_owned()]];
        assert_eq!(aligned(&rows), "limit    asked\nmemory   256m\n");
    }

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_micros(840)), "0.84 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(250)), "4 min 10 s");
        assert_eq!(size(1), "1 KiB");
        assert_eq!(size(224 << 20), "224 MiB");
    }
}
