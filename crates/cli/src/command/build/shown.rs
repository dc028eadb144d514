//! What a build shows while it goes on, on standard error: steps as they end above those that go on, on a terminal; lines with the
//! number of their step; or events for programs, a line of JSON each.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holm_build::solve::{Built, Ended, Progress};
use holm_spec::Reference;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::printer::printable;
use crate::terminal;

/// Most bytes that are kept of what a command wrote last.
const LAST: usize = 4096;
/// Lines of a command that are shown while it goes on, on a terminal.
const TAIL: usize = 4;
/// How often a terminal shows that time goes by.
const TICK: Duration = Duration::from_millis(100);

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// For people, on a terminal.
    Tree,
    /// For people, line after line.
    Plain,
    /// For programs.
    Json,
    /// Not at all, unless a step fails.
    Silent,
}

impl Manner {
    /// What `--progress` says.
    ///
    /// # Errors
    /// It is none of the words.
    pub fn parse(text: Option<&str>, quiet: bool) -> Result<Self, String> {
        Ok(match text.unwrap_or("auto") {
            _ if quiet => Self::Silent,
            "auto" if terminal::is_error_screen() => Self::Tree,
            "auto" | "plain" => Self::Plain,
            "tty" => Self::Tree,
            "rawjson" => Self::Json,
            "quiet" | "none" => Self::Silent,
            other => return Err(format!("`{other}` is none of auto, plain, tty, rawjson, quiet, none")),
        })
    }
}

/// Shows one build.
pub struct Shown {
    manner: Manner,
    /// Why steps are made is shown, too.
    explains: bool,
    bars: MultiProgress,
    steps: Mutex<Vec<Step>>,
}

struct Step {
    title: String,
    begun: Instant,
    /// What its command wrote behind its last newline.
    rest: Vec<u8>,
    /// What it wrote last, for a build that shows nothing until one fails.
    last: Vec<u8>,
    /// Its last lines.
    tail: VecDeque<String>,
    bar: ProgressBar,
}

impl Shown {
    /// Shows a build like this.
    pub fn new(manner: Manner, explains: bool) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { manner, explains, bars, steps: Mutex::default() }
    }

    /// What came out.
    pub fn close(&self, built: &Built, names: &[Reference]) {
        let (made, cached) = built.steps;
        let names: Vec<String> = names.iter().map(Reference::familiar).collect();
        if self.manner == Manner::Json {
            return say(&json!({ "image": built.id, "names": names, "made": made, "cached": cached }));
        }
        let what = built.id.map_or_else(|| "files".to_owned(), |id| id.to_string());
        let unit = if made == 1 { "step" } else { "steps" };
        let mut text = format!("built {what}: {made} {unit} made, {cached} cached");
        names.iter().for_each(|name| text.push_str(&format!("\nnamed {name}")));
        if self.manner != Manner::Silent {
            say(&text);
        }
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, number: usize, step: &mut Step, line: &[u8]) {
        let text = printable(String::from_utf8_lossy(line).trim_end_matches('\r'));
        match self.manner {
            Manner::Plain => say(&format!("#{number} {:.3} {text}", step.begun.elapsed().as_secs_f64())),
            Manner::Json => self.event(number, json!({ "output": String::from_utf8_lossy(line) })),
            Manner::Silent => {}
            Manner::Tree => {
                step.tail.push_back(text);
                step.tail.drain(..step.tail.len().saturating_sub(TAIL));
                let tail: String = step.tail.iter().map(|line| format!("\n     {line}")).collect();
                step.bar.set_message(format!("{}{tail}", first_line(&step.title)));
            }
        }
    }

    fn event(&self, number: usize, mut event: Value) {
        event["step"] = number.into();
        say(&event);
    }

    /// On a terminal above what goes on.
    fn above(&self, text: &str) {
        if self.bars.println(text).is_err() || self.bars.is_hidden() {
            say(&text);
        }
    }

    fn bar(&self, title: &str) -> ProgressBar {
        if self.manner != Manner::Tree {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}");
        let bar = self.bars.add(ProgressBar::new_spinner().with_message(first_line(title)));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(TICK);
        bar
    }

    fn say_ended(&self, number: usize, step: &Step, how: Ended, time: Duration) {
        let seconds = time.as_secs_f64();
        match self.manner {
            Manner::Plain => say(&match how {
                Ended::Cached => format!("#{number} CACHED"),
                Ended::Made => format!("#{number} DONE {seconds:.2}s"),
                Ended::Failed => format!("#{number} FAILED {seconds:.2}s"),
                Ended::Stopped => format!("#{number} CANCELED"),
            }),
            Manner::Json => self.event(number, json!({ "ended": word(how), "seconds": seconds })),
            Manner::Tree => {
                step.bar.finish_and_clear();
                let time = match how {
                    Ended::Cached | Ended::Stopped => word(how).to_owned(),
                    Ended::Made | Ended::Failed => format!("{seconds:.1}s"),
                };
                let mark = if how == Ended::Failed { '!' } else { ' ' };
                self.above(&format!("{mark} {time:>8} {}", first_line(&step.title)));
            }
            Manner::Silent => {}
        }
        if how == Ended::Failed && matches!(self.manner, Manner::Tree | Manner::Silent) {
            let last = String::from_utf8_lossy(&step.last);
            last.trim_end().lines().for_each(|line| self.above(&printable(line)));
        }
    }
}

impl Progress for Shown {
    fn begin(&self, title: &str) -> usize {
        let title = printable(title);
        let mut steps = self.steps();
        let number = steps.len() + 1;
        match self.manner {
            Manner::Plain => say(&format!("#{number} {title}")),
            Manner::Json => self.event(number, json!({ "begins": title })),
            Manner::Tree | Manner::Silent => {}
        }
        let (begun, bar) = (Instant::now(), self.bar(&title));
        steps.push(Step { title, begun, rest: Vec::new(), last: Vec::new(), tail: VecDeque::new(), bar });
        number
    }

    fn missed(&self, step: usize, reasons: &[String]) {
        if self.manner == Manner::Json {
            self.event(step, json!({ "why": reasons }));
        } else if self.explains {
            let title = self.steps()[step - 1].title.clone();
            for reason in reasons.iter().map(|reason| printable(reason)) {
                match self.manner {
                    Manner::Tree => self.above(&format!("  because: {reason}: {}", first_line(&title))),
                    _ => say(&format!("#{step} because: {reason}")),
                }
            }
        }
    }

    fn output(&self, number: usize, bytes: &[u8]) {
        let mut steps = self.steps();
        let step = &mut steps[number - 1];
        step.last.extend_from_slice(bytes);
        let surplus = step.last.len().saturating_sub(LAST);
        step.last.drain(..surplus);
        step.rest.extend_from_slice(bytes);
        while let Some(end) = step.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = step.rest.drain(..=end).collect();
            self.line(number, step, &line[..end]);
        }
        if step.rest.len() > LAST {
            let line = std::mem::take(&mut step.rest);
            self.line(number, step, &line);
        }
    }

    fn ended(&self, number: usize, how: Ended, time: Duration) {
        let mut steps = self.steps();
        let step = &mut steps[number - 1];
        if !step.rest.is_empty() {
            let line = std::mem::take(&mut step.rest);
            self.line(number, step, &line);
        }
        self.say_ended(number, step, how, time);
    }
}

fn word(how: Ended) -> &'static str {
    match how {
        Ended::Cached => "cached",
        Ended::Made => "made",
        Ended::Failed => "failed",
        Ended::Stopped => "canceled",
    }
}

/// An instruction of many lines is known by its first.
fn first_line(title: &str) -> String {
    title.split(['\n', '\u{fffd}']).next().unwrap_or_default().to_owned()
}

/// Nobody is left to hear that it cannot be written.
fn say(text: &impl std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
