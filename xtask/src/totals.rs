//! Adding up what test programs report, from the lines that `cargo test` prints.

/// What all test programs together reported.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that are marked as ignored.
    pub skipped: usize,
    /// The names of those that failed.
    pub failures: Vec<String>,
    /// The names of those that were skipped, with the reason where one is given.
    pub omissions: Vec<String>,
}

impl Totals {
    /// Reads one line of the output; most say nothing about totals.
    pub fn read_line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.skipped += count(result, "ignored");
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|test| test.split_once(" ... "))
        {
            match outcome.split_once(", ").unwrap_or((outcome, "")) {
                ("FAILED", _) => self.failures.push(name.to_owned()),
                ("ignored", "") => self.omissions.push(name.to_owned()),
                ("ignored", reason) => self.omissions.push(format!("{name}: {reason}")),
                _ => {}
            }
        }
    }

    /// The closing line.
    pub fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The number before `word` in `ok. 5 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> usize {
    let part = result.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut totals = Totals::default();
        let output = "\
running 4 tests
test digest::parses ... ok
test layer::huge ... ignored, takes 3 min
test layer::old ... ignored
test mount::stays - should panic ... FAILED

test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.02s
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.02s
";
        output.lines().for_each(|line| totals.read_line(line));
        assert_eq!(totals.line(), "41 passed, 1 failed, 2 skipped");
        assert_eq!(totals.failures, ["mount::stays - should panic"]);
        assert_eq!(totals.omissions, ["layer::huge: takes 3 min", "layer::old"]);
    }

    #[test]
    fn lines_that_only_look_alike_say_nothing() {
        let mut totals = Totals::default();
        for line in
            ["test result: garbled", "  test result: ok. 5 passed; 0 failed", "test of mine", "5 passed"]
        {
            totals.read_line(line);
        }
        assert_eq!(totals, Totals::default());
    }
}
