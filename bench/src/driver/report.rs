//! Figures, goals, and how they are printed.
//!
//! Times are milliseconds, sizes KiB. A goal stands beside its figure and decides nothing.

use std::fmt;

use serde::Serialize;

use super::pairing::{Series, Spread};
use super::process::Sample;

/// All that one run of the driver found.
#[derive(Serialize)]
pub struct Report {
    host: Vec<String>,
    sections: Vec<Section>,
    could_not_run: Vec<Reason>,
}

/// Something that did not run, and why.
#[derive(Serialize)]
struct Reason {
    what: String,
    why: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Section {
    Comparison(Comparison),
    Figures(Figures),
    Note(Note),
}

/// Commands that did the same work by turns.
#[derive(Serialize)]
pub struct Comparison {
    title: String,
    runs: u32,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    wall_ms: Spread,
    settled_ms: Spread,
    cpu_ms: Spread,
}

/// What is compared, and how: medians of wall or of CPU time.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Wall time divided by the other's.
    Wall,
    /// CPU time divided by the other's.
    Cpu,
    /// Wall time beyond the other's, in milliseconds.
    Beyond,
}

#[derive(Serialize)]
struct Ratio {
    of: String,
    to: String,
    measure: Measure,
    /// Of the medians; the goal is for this one.
    value: f64,
    /// Of the minima, which a busy machine moves less.
    of_minima: f64,
    goal: Option<Goal>,
}

/// What a figure should be, by the project's promises.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// Single figures.
#[derive(Serialize)]
pub struct Figures {
    title: String,
    rows: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

/// Words for the reader.
#[derive(Serialize)]
struct Note {
    title: &'static str,
    lines: &'static [&'static str],
}

impl Report {
    /// An empty report of a machine that `host` describes.
    pub fn new(host: Vec<String>) -> Self {
        Self { host, sections: Vec::new(), could_not_run: Vec::new() }
    }

    /// Whether all that was asked for could run.
    pub fn is_complete(&self) -> bool {
        self.could_not_run.is_empty()
    }

    /// Notes something that did not run; the same thing for the same reason once.
    pub fn could_not_run(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        if !self.could_not_run.iter().any(|known| known.what == what && known.why == why) {
            self.could_not_run.push(Reason { what, why });
        }
    }

    /// Adds a comparison; sides that dropped out go to the list of what could not run. Each wanted ratio
    /// names two sides, and is left out when one of them is not there.
    pub fn compare(
        &mut self,
        title: &str,
        runs: u32,
        series: Vec<Series>,
        wanted: &[(&str, &str, Measure, Option<Goal>)],
    ) {
        let mut rows = Vec::new();
        for Series { name, samples } in series {
            match samples {
                Ok(samples) => rows.push(Row::of(name, &samples)),
                Err(why) => self.could_not_run(format!("{title}: {name}"), why),
            }
        }
        if rows.is_empty() {
            return;
        }
        let ratios = wanted.iter().filter_map(|wanted| Ratio::find(&rows, *wanted)).collect();
        self.sections.push(Section::Comparison(Comparison { title: title.to_owned(), runs, rows, ratios }));
    }

    /// Adds lines of text, which say what figures mean.
    pub fn note(&mut self, title: &'static str, lines: &'static [&'static str]) {
        self.sections.push(Section::Note(Note { title, lines }));
    }

    /// Adds figures.
    pub fn add(&mut self, figures: Figures) {
        self.sections.push(Section::Figures(figures));
    }
}

impl Row {
    fn of(name: String, samples: &[Sample]) -> Self {
        let spread = |time: fn(&Sample) -> std::time::Duration| {
            Spread::of(samples.iter().map(|sample| time(sample).as_secs_f64() * 1e3))
        };
        Self {
            name,
            wall_ms: spread(|sample| sample.wall),
            settled_ms: spread(|sample| sample.settled),
            cpu_ms: spread(|sample| sample.cpu),
        }
    }

    fn spread(&self, measure: Measure) -> Spread {
        match measure {
            Measure::Wall | Measure::Beyond => self.wall_ms,
            Measure::Cpu => self.cpu_ms,
        }
    }
}

impl Ratio {
    fn find(rows: &[Row], wanted: (&str, &str, Measure, Option<Goal>)) -> Option<Self> {
        let (of, to, measure, goal) = wanted;
        let spread = |name| rows.iter().find(|row| row.name == name).map(|row| row.spread(measure));
        let other = spread(to).filter(|spread| spread.min > 0.0)?;
        let one = spread(of)?;
        let compare = |one: f64, other: f64| match measure {
            Measure::Beyond => one - other,
            Measure::Wall | Measure::Cpu => one / other,
        };
        let (value, of_minima) = (compare(one.median, other.median), compare(one.min, other.min));
        Some(Self { of: of.to_owned(), to: to.to_owned(), measure, value, of_minima, goal })
    }
}

impl Figures {
    /// No figures yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds one figure.
    pub fn push(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Option<Goal>) {
        self.rows.push(Figure { name: name.into(), value, unit, goal });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.iter().try_for_each(|line| writeln!(formatter, "{line}"))?;
        for section in &self.sections {
            match section {
                Section::Comparison(comparison) => write!(formatter, "\n{comparison}")?,
                Section::Figures(figures) => write!(formatter, "\n{figures}")?,
                Section::Note(note) => {
                    writeln!(formatter, "  {}", note.title)?;
                    note.lines.iter().try_for_each(|line| writeln!(formatter, "    {line}"))?;
                }
            }
        }
        if !self.could_not_run.is_empty() {
            writeln!(formatter, "\nCould not run")?;
        }
        self.could_not_run
            .iter()
            .try_for_each(|reason| writeln!(formatter, "  {}: {}", reason.what, reason.why))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} ({} runs by turns, milliseconds)", self.title, self.runs)?;
        writeln!(
            formatter,
            "  {:<24}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "min", "median", "max", "settled", "CPU"
        )?;
        for row in &self.rows {
            let Spread { min, median, max } = row.wall_ms;
            let (settled, cpu) = (row.settled_ms.median, row.cpu_ms.median);
            let name = &row.name;
            writeln!(
                formatter,
                "  {name:<24}{min:>10.2}{median:>10.2}{max:>10.2}{settled:>10.2}{cpu:>10.2}"
            )?;
        }
        self.ratios.iter().try_for_each(|ratio| writeln!(formatter, "  {ratio}"))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, to, value, of_minima, .. } = self;
        match self.measure {
            Measure::Wall => write!(formatter, "{of} / {to}: {value:.2}, of minima {of_minima:.2}"),
            Measure::Cpu => write!(formatter, "{of} / {to}, CPU: {value:.2}, of minima {of_minima:.2}"),
            Measure::Beyond => {
                write!(formatter, "{of} beyond {to}: {value:.2} ms, of minima {of_minima:.2} ms")
            }
        }?;
        write_goal(formatter, self.goal, self.value)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.title)?;
        for row in &self.rows {
            write!(formatter, "  {:<60}{:>12.2} {}", row.name, row.value, row.unit)?;
            write_goal(formatter, row.goal, row.value)?;
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn write_goal(formatter: &mut fmt::Formatter<'_>, goal: Option<Goal>, value: f64) -> fmt::Result {
    let Some(goal) = goal else { return Ok(()) };
    let (word, bound) = match goal {
        Goal::AtMost(bound) => ("at most", bound),
        Goal::AtLeast(bound) => ("at least", bound),
    };
    write!(formatter, "  (goal: {word} {bound}, {})", if goal.met(value) { "met" } else { "missed" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn series(name: &str, milliseconds: u64) -> Series {
        let time = Duration::from_millis(milliseconds);
        let sample = Sample { wall: time, settled: time * 2, cpu: time / 2 };
        Series { name: name.to_owned(), samples: Ok(vec![sample; 3]) }
    }

    #[test]
    fn goals_stand_beside_ratios_and_missing_sides_are_listed() {
        let mut report = Report::new(vec!["a machine".to_owned()]);
        let absent = Series { name: "podman".to_owned(), samples: Err("not installed".to_owned()) };
        let goal = Some(Goal::AtMost(3.0));
        let wanted = [
            ("holm", "floor", Measure::Wall, goal),
            ("holm", "podman", Measure::Wall, Some(Goal::AtLeast(10.0))),
            ("holm", "floor", Measure::Beyond, Some(Goal::AtMost(6.5))),
        ];
        report.compare("start", 3, vec![series("holm", 8), series("floor", 2), absent], &wanted);
        let text = report.to_string();
        assert!(text.contains("holm / floor: 4.00, of minima 4.00  (goal: at most 3, missed)"), "{text}");
        assert!(
            text.contains("holm beyond floor: 6.00 ms, of minima 6.00 ms  (goal: at most 6.5, met)"),
            "{text}"
        );
        assert!(!text.contains("holm / podman"), "{text}");
        assert!(text.contains("start: podman: not installed"), "{text}");
        assert!(!report.is_complete());
    }

    #[test]
    fn programs_read_the_same_figures() {
        let mut report = Report::new(Vec::new());
        let mut figures = Figures::new("memory");
        figures.push("marginal", 250.0, "KiB", Some(Goal::AtMost(300.0)));
        report.add(figures);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["sections"][0]["kind"], "figures");
        assert_eq!(json["sections"][0]["rows"][0]["goal"]["at_most"], 300.0);
        assert_eq!(report.to_string().lines().last().unwrap().split_whitespace().last(), Some("met)"));
    }
}
