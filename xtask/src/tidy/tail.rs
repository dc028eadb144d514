//! The size of the tail: the longest files and functions, which is where codebases go wrong, not the average.

use super::Report;
use super::source::{Function, Source};

/// More lines than this in a file fail.
const FILE_LIMIT: usize = 800;

/// More lines than this in a function fail.
const FUNCTION_LIMIT: usize = 100;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Something with a length in lines.
struct Sized {
    place: String,
    lines: usize,
}

/// Measures every file and every function.
pub fn check(sources: &[Source]) -> Report {
    let files: Vec<_> = sources.iter().map(file).collect();
    let functions: Vec<_> = sources.iter().flat_map(functions).collect();
    let mut findings: Vec<_> =
        files.iter().filter(|file| !is_excused(file)).flat_map(|f| over(f, FILE_LIMIT)).collect();
    findings.extend(functions.iter().flat_map(|function| over(function, FUNCTION_LIMIT)));
    let summary = format!("files: {}; functions: {}", spread(&files), spread(&functions));
    Report { name: "size", summary, findings }
}

fn file(source: &Source) -> Sized {
    Sized { place: source.path.clone(), lines: source.text.lines().count() }
}

fn functions(source: &Source) -> Vec<Sized> {
    let sized = |function: Function| Sized {
        place: format!("{}:{}: fn {}", source.path, function.first, function.name),
        lines: function.last - function.first + 1,
    };
    source.functions().into_iter().map(sized).collect()
}

fn is_excused(file: &Sized) -> bool {
    LONG_FILES.iter().any(|(path, _)| *path == file.place)
}

fn over(sized: &Sized, limit: usize) -> Option<String> {
    (sized.lines > limit).then(|| format!("{}: {} lines, more than {limit}", sized.place, sized.lines))
}

/// `median 12, 90th percentile 41, longest 97 (crates/…)` in lines.
fn spread(sized: &[Sized]) -> String {
    let mut lines: Vec<_> = sized.iter().map(|sized| sized.lines).collect();
    lines.sort_unstable();
    let Some(longest) = sized.iter().max_by_key(|sized| sized.lines) else { return "none".to_owned() };
    let (median, high) = (percentile(&lines, 50), percentile(&lines, 90));
    format!(
        "{} (median {median}, 90th percentile {high}, longest {} {})",
        lines.len(),
        longest.lines,
        longest.place
    )
}

/// The smallest of `sorted` that at least `percent` of them do not exceed.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_functions_are_named() {
        let body = "    call();\n".repeat(FUNCTION_LIMIT);
        let long = format!("//! A.\nfn short() {{}}\nfn long() {{\n{body}}}\n");
        let sources = [Source::new("a.rs", &long), Source::new("b.rs", &"//\n".repeat(FILE_LIMIT + 1))];
        assert_eq!(
            check(&sources).findings,
            ["b.rs: 801 lines, more than 800", "a.rs:3: fn long: 102 lines, more than 100"]
        );
    }

    #[test]
    fn the_limits_themselves_pass() {
        let body = "    call();\n".repeat(FUNCTION_LIMIT - 2);
        let source = Source::new("a.rs", &format!("fn exact() {{\n{body}}}\n"));
        assert!(check(&[source]).findings.is_empty());
        assert!(check(&[Source::new("b.rs", &"//\n".repeat(FILE_LIMIT))]).findings.is_empty());
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(percentile(&[1, 2, 3, 4], 50), 2);
        assert_eq!(percentile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 90), 9);
        assert_eq!(percentile(&[7], 90), 7);
        assert_eq!(percentile(&[], 50), 0);
    }
}
