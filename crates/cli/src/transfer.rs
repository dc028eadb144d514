//! What is shown of images on their way from and to registries: a bar for each layer on a terminal, else lines as
//! Docker's, or events as JSON for programs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use holm_engine::registry::{Observer, Step};
use holm_spec::{Digest, Reference};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::command_error::CommandError;
use crate::printer::Printer;
use crate::terminal;

/// How often a program hears how far a layer is.
const TICK: Duration = Duration::from_millis(100);
const MOVING: &str = "{prefix}: {msg:<11} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const STANDING: &str = "{prefix}: {msg}";

/// Whereto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a registry.
    Pull,
    /// To one.
    Push,
    /// From one place to another.
    Copy,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Not at all.
    Quiet,
    /// For people, on standard output.
    Output,
    /// For people, on standard error: the output belongs to somebody else.
    Talk,
    /// For programs, on standard output.
    Json,
}

/// Shows how far the layers of one image are.
pub struct Transfer {
    direction: Direction,
    manner: Manner,
    /// Said when the registry has answered.
    header: String,
    headed: Once,
    bars: Option<MultiProgress>,
    layers: Mutex<HashMap<Digest, Layer>>,
}

struct Layer {
    bar: ProgressBar,
    told: Instant,
}

impl Transfer {
    /// Shows how an image is moved; `header` says what and whereto.
    pub fn new(direction: Direction, manner: Manner, header: String) -> Self {
        let on_terminal = match manner {
            Manner::Quiet | Manner::Json => false,
            Manner::Output => terminal::is_output_screen() && terminal::is_error_terminal(),
            Manner::Talk => terminal::is_error_terminal(),
        };
        let bars = on_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { direction, manner, header, headed: Once::new(), bars, layers: Mutex::default() }
    }

    /// Prints a line for people.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn line(&self, text: &str) -> Result<(), CommandError> {
        match self.manner {
            Manner::Quiet | Manner::Json => Ok(()),
            Manner::Output => Printer.line(text),
            Manner::Talk => Printer.error_data(format!("{text}\n").as_bytes()),
        }
    }

    /// Prints what became of it for programs.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn event(&self, event: &serde_json::Value) -> Result<(), CommandError> {
        match self.manner {
            Manner::Json => Printer.line(event),
            _ => Ok(()),
        }
    }

    fn say(&self, layer: &Digest, step: Step) {
        let words = words(self.direction, step);
        if let (Some(bars), Some(words)) = (&self.bars, words) {
            return self.draw(bars, layer, step, words);
        }
        // Of many steps on the way only the last is worth a line.
        let passing = matches!(step, Step::Moved { bytes, size } if bytes < size);
        if let Some(words) = words.filter(|_| !passing) {
            // That nobody reads is noticed when all is done.
            let _ = self.line(&format!("{}: {words}", layer.short()));
        }
    }

    fn draw(&self, bars: &MultiProgress, layer: &Digest, step: Step, words: &'static str) {
        let mut layers = self.layers();
        let Layer { bar, .. } = layers.entry(*layer).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0)).with_prefix(layer.short().to_owned());
            bar.set_style(style(STANDING));
            Layer { bar, told: Instant::now() }
        });
        match step {
            Step::Begins { size: Some(size) } => {
                bar.set_length(size);
                bar.set_message(words);
            }
            Step::Moved { bytes, size } if bytes < size => {
                if bar.position() == 0 {
                    bar.set_style(style(MOVING));
                    bar.set_length(size);
                }
                bar.set_message(words);
                bar.set_position(bytes);
            }
            Step::Begins { size: None } | Step::Moved { .. } => {
                bar.set_style(style(STANDING));
                bar.set_message(words);
            }
            Step::Exists | Step::Mounted | Step::Taken | Step::Complete => {
                bar.set_style(style(STANDING));
                bar.finish_with_message(words);
            }
        }
    }

    fn emit(&self, layer: &Digest, step: Step) {
        if let Step::Moved { bytes, size } = step
            && bytes < size
        {
            let mut layers = self.layers();
            if layers.get(layer).is_some_and(|known| known.told.elapsed() < TICK) {
                return;
            }
            layers.insert(*layer, Layer { bar: ProgressBar::hidden(), told: Instant::now() });
        }
        let (current, total) = match step {
            Step::Begins { size } => (None, size),
            Step::Moved { bytes, size } => (Some(bytes), Some(size)),
            _ => (None, None),
        };
        let mut event = json!({"id": layer, "status": status(step)});
        for (name, value) in [("current", current), ("total", total)] {
            if let Some(value) = value {
                event[name] = value.into();
            }
        }
        // That nobody reads is noticed when all is done.
        let _ = self.event(&event);
    }

    /// A thread that panicked left nothing half done here.
    fn layers(&self) -> MutexGuard<'_, HashMap<Digest, Layer>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Transfer {
    fn found(&self) {
        self.headed.call_once(|| drop(self.line(&self.header)));
    }

    fn layer(&self, layer: &Digest, step: Step) {
        match self.manner {
            Manner::Quiet => {}
            Manner::Json => self.emit(layer, step),
            Manner::Output | Manner::Talk => self.say(layer, step),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Docker's header of a pull.
pub fn pulling(reference: &Reference) -> String {
    let wanted = reference.digest().map(|digest| digest.to_string());
    let wanted = wanted.as_deref().or(reference.tag()).unwrap_or_default();
    format!("{wanted}: Pulling from {}", reference.path())
}

/// Docker's header of a push.
pub fn pushing(reference: &Reference) -> String {
    format!("The push refers to repository [{}/{}]", reference.domain(), reference.path())
}

/// Docker's words for a step.
fn words(direction: Direction, step: Step) -> Option<&'static str> {
    use Direction::{Copy, Pull, Push};
    Some(match (direction, step) {
        (Pull, Step::Exists) => "Already exists",
        (Pull, Step::Begins { .. }) => "Pulling fs layer",
        (Pull, Step::Moved { bytes, size }) if bytes < size => "Downloading",
        (Pull, Step::Moved { .. }) => "Download complete",
        (Pull, Step::Complete) => "Pull complete",
        (Push, Step::Exists) => "Layer already exists",
        (Push, Step::Begins { size: None }) => "Preparing",
        (Push, Step::Begins { .. }) => "Pushing",
        (Push, Step::Moved { bytes, size }) if bytes < size => "Pushing",
        // The registry has yet to say that it has it.
        (Push, Step::Moved { .. }) => return None,
        (Push, Step::Complete) => "Pushed",
        (Copy, Step::Exists) => "Already exists",
        (Copy, Step::Complete) => "Copied",
        (Copy, Step::Begins { .. }) => return None,
        (Copy, Step::Moved { .. }) => "Copying",
        (_, Step::Mounted) => "Mounted from another repository",
        (_, Step::Taken) => "Taken from this host's images",
    })
}

fn status(step: Step) -> &'static str {
    match step {
        Step::Exists => "exists",
        Step::Mounted => "mounted",
        Step::Taken => "taken",
        Step::Begins { .. } => "begins",
        Step::Moved { .. } => "moves",
        Step::Complete => "complete",
    }
}
