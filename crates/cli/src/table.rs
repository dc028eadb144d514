//! Rows of cells to aligned columns, as Docker's tables: a column is as wide as its widest cell and three blanks, at least
//! ten characters; the last column is not padded.

use crate::printer::printable;

/// Blanks between columns.
const GAP: usize = 3;
/// Narrowest column with its gap.
const NARROWEST: usize = 10;

/// Lays out rows, headings among them, one line each.
pub fn render<Cell: AsRef<str>>(rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    let mut text = String::new();
    for row in rows {
        line(&mut text, row, &widths);
    }
    text
}

/// The width of a column with its gap; a cell that ends its row needs none.
fn width<Cell: AsRef<str>>(rows: &[Vec<Cell>], column: usize) -> usize {
    let inner = rows.iter().filter(|row| row.len() > column + 1);
    let widest = inner.filter_map(|row| row.get(column)).map(|cell| cell.as_ref().chars().count()).max();
    widest.map_or(0, |widest| (widest + GAP).max(NARROWEST))
}

fn line<Cell: AsRef<str>>(text: &mut String, row: &[Cell], widths: &[usize]) {
    let Some((last, cells)) = row.split_last() else { return text.push('\n') };
    for (cell, &width) in cells.iter().zip(widths) {
        let cell = cell.as_ref();
        text.push_str(&printable(cell));
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
    }
    text.push_str(&printable(last.as_ref()));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_control_no_terminal() {
        assert_eq!(render(&[vec!["a\u{1b}[31m", "b\n"]]), "a\u{fffd}[31m    b\u{fffd}\n");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            vec!["CONTAINER ID", "IMAGE", "NAMES"],
            vec!["0123456789ab", "debian:bookworm", "web"],
            vec!["…", "", "a name that is longer"],
        ];
        insta::assert_snapshot!(render(&rows), @r"
        CONTAINER ID   IMAGE             NAMES
        0123456789ab   debian:bookworm   web
        …                                a name that is longer
        ");
    }

    #[test]
    fn short_columns_have_ten_characters() {
        assert_eq!(render(&[vec!["A", "B"], vec!["1", "2"]]), "A         B\n1         2\n");
        assert_eq!(render::<&str>(&[]), "");
        assert_eq!(render(&[vec!["only"]]), "only\n");
    }
}
