//! What a comparison looks like: a table, two stacks, or a document. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use holm_engine::Result;
use holm_engine::compare::{Comparison, Costs, MachineSide, Side};
use holm_spec::machine::Accelerator;
use serde_json::{Value, json};

use crate::command_error::CommandError;
use crate::drawing::{self, Pen, Stack};
use crate::printer::printable;
use crate::{size, table};

/// Of what is not known.
const UNKNOWN: &str = "-";

/// The table, what is missing or was chosen, and the two stacks.
pub fn text(comparison: &Comparison, pen: Pen) -> String {
    let mut text = table::render(&rows(comparison));
    for line in remarks(comparison) {
        let _ = write!(text, "\n{line}\n");
    }
    let _ = write!(text, "\n{}", drawing::stacks(&stacks(comparison), pen));
    text
}

fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let sides = [comparison.container.as_ref().ok(), comparison.machine.as_ref().ok()];
    let row = |name: &str, cell: &dyn Fn(&Side) -> Option<String>| {
        let cells = sides.map(|side| side.and_then(cell).unwrap_or_else(|| UNKNOWN.to_owned()));
        // Some come from the image.
        [name.to_owned()].into_iter().chain(cells).map(|cell| printable(&cell)).collect::<Vec<String>>()
    };
    let cost = |cell: fn(&Costs) -> String| move |side: &Side| side.costs.as_ref().map(cell);
    let command = shown(&comparison.command);
    let mut rows = vec![
        ["", "CONTAINER", "VIRTUAL MACHINE"].map(String::from).into(),
        row("until it runs", &|side| Some(time(side.start))),
        row(&format!("until `{command}` is gone"), &|side| Some(time(side.whole))),
        row("exit code", &|side| Some(side.exit_code.to_string())),
        row("memory", &cost(|costs| size::binary(costs.memory()))),
        row("  of it the keeper's", &cost(|costs| size::binary(costs.keeper_memory()))),
    ];
    let group = |side: &Side| side.costs.as_ref()?.group_memory.map(size::binary);
    if sides.into_iter().flatten().any(|side| group(side).is_some()) {
        rows.push(row("  its control group's", &group));
    }
    rows.push(row("disk beside the image", &cost(|costs| size::binary(costs.disk))));
    rows.push(row("processes on the host", &cost(|costs| costs.processes.len().to_string())));
    for number in 0..sides.map(process_count).into_iter().max().unwrap_or(0) {
        let name = |side: &Side| Some(side.costs.as_ref()?.processes.get(number)?.name.clone());
        // A side that has fewer has nothing here, which is no gap.
        rows.push(row("", &|side| Some(name(side).unwrap_or_default())));
    }
    rows.push(row("kernel that it sees", &|side| Some(kernel(side))));
    rows.push(row("its system calls go to", &|side| Some(system_calls(side).to_owned())));
    rows.push(row("wall to its neighbours", &|side| Some(wall(side).to_owned())));
    rows.push(row("hypervisor", &|side| Some(side.machine.as_ref().map_or("none", hypervisor).to_owned())));
    rows
}

fn process_count(side: Option<&Side>) -> usize {
    side.and_then(|side| side.costs.as_ref()).map_or(0, |costs| costs.processes.len())
}

/// Why this hypervisor, and what a way that could not be gone met, with what helps.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let machine = comparison.machine.as_ref().ok().and_then(|side| side.machine.as_ref());
    let chosen = machine.map(|machine| format!("Why this hypervisor: {}", machine.reason));
    let sides = [("container", &comparison.container), ("virtual machine", &comparison.machine)];
    let missing = sides.into_iter().filter_map(|(name, side)| {
        let (message, hints) = lack(side)?;
        let hints = hints.iter().map(|hint| format!("\n  hint: {hint}"));
        Some(format!("No {name}: {}{}", printable(&message), hints.collect::<String>()))
    });
    chosen.into_iter().chain(missing).collect()
}

/// Each stack from the hardware to the application; only those that were run.
fn stacks(comparison: &Comparison) -> Vec<Stack> {
    let ground = &comparison.host;
    let hardware = if ground.is_guest { "hardware (itself virtual)" } else { "hardware" };
    let stack = |name: &str, middle: Vec<String>| Stack {
        name: name.to_owned(),
        layers: [hardware.to_owned()]
            .into_iter()
            .chain(middle)
            .chain(["application".to_owned()])
            .map(|layer| printable(&layer))
            .collect(),
    };
    let container = comparison.container.as_ref().ok().map(|_| {
        let kernel = format!("host kernel {}", ground.kernel);
        stack("container", vec![kernel, "holm-keeper".to_owned()])
    });
    let machine = comparison.machine.as_ref().ok().and_then(|side| {
        let layers = machine_layers(&ground.kernel, side, side.machine.as_ref()?);
        Some(stack("virtual machine", layers))
    });
    container.into_iter().chain(machine).collect()
}

fn machine_layers(host: &str, side: &Side, machine: &MachineSide) -> Vec<String> {
    let (host, emulator) = match machine.accelerator {
        Accelerator::Kvm => (format!("host kernel {host} with KVM (type 2)"), "QEMU (devices)"),
        Accelerator::Tcg => (format!("host kernel {host}"), "QEMU (emulator)"),
    };
    let guest = format!("guest kernel {}", side.kernel);
    vec![host, "holm-keeper".to_owned(), emulator.to_owned(), guest, "holm-agent".to_owned()]
}

fn kernel(side: &Side) -> String {
    let whose = if side.machine.is_some() { "its own" } else { "the host's" };
    format!("{} ({whose})", side.kernel)
}

fn system_calls(side: &Side) -> &'static str {
    match side.machine {
        None => "the host's kernel, filtered",
        Some(_) => "its own kernel, filtered",
    }
}

fn wall(side: &Side) -> &'static str {
    match side.machine {
        None => "namespaces and capabilities",
        Some(_) => "a machine, in a jail besides",
    }
}

fn hypervisor(machine: &MachineSide) -> &'static str {
    match machine.accelerator {
        Accelerator::Kvm => "type 2: KVM, part of the host's kernel",
        Accelerator::Tcg => "emulator: QEMU translates its code",
    }
}

/// The kind in one word for programs.
fn hypervisor_kind(machine: &MachineSide) -> &'static str {
    match machine.accelerator {
        Accelerator::Kvm => "type 2",
        Accelerator::Tcg => "emulator",
    }
}

/// What a way met that could not be gone, and what helps.
fn lack(side: &Result<Side>) -> Option<(String, Vec<String>)> {
    let error = side.as_ref().err()?;
    let told = CommandError::told_of(error);
    Some((told.message().unwrap_or_default().to_owned(), told.hints().to_vec()))
}

/// A duration with three significant digits.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        10.0.. => format!("{seconds:.1} s"),
        1.0.. => format!("{seconds:.2} s"),
        0.1.. => format!("{:.0} ms", seconds * 1e3),
        0.01.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.2} ms", seconds * 1e3),
    }
}

/// The command in one short cell.
fn shown(command: &[String]) -> String {
    const LONGEST: usize = 20;
    crate::listing::ellipsis(&command.join(" ").replace(char::is_control, " "), LONGEST)
}

/// Everything, for programs. Times are in seconds, sizes in bytes.
pub fn document(image: &str, runs: u16, comparison: &Comparison) -> Value {
    json!({
        "Image": image,
        "Command": comparison.command,
        "Runs": runs,
        "HostKernel": comparison.host.kernel,
        "HostIsGuest": comparison.host.is_guest,
        "Container": side_document(&comparison.container),
        "Machine": side_document(&comparison.machine),
        "Stacks": stacks(comparison).iter().map(|stack| &stack.layers).collect::<Vec<_>>(),
    })
}

fn side_document(result: &Result<Side>) -> Value {
    let side = match result {
        Ok(side) => side,
        Err(_) => {
            let (message, hints) = lack(result).unwrap_or_default();
            return json!({ "Missing": message, "Hints": hints });
        }
    };
    let costs = side.costs.as_ref();
    let process = |process: &holm_engine::compare::HostProcess| json!({ "Pid": process.pid, "Name": process.name, "Memory": process.memory });
    json!({
        "StartSeconds": side.start.as_secs_f64(),
        "WholeSeconds": side.whole.as_secs_f64(),
        "ExitCode": side.exit_code,
        "Kernel": side.kernel,
        "SystemCalls": system_calls(side),
        "Separation": wall(side),
        "Memory": costs.map(Costs::memory),
        "KeeperMemory": costs.map(Costs::keeper_memory),
        "GroupMemory": costs.and_then(|costs| costs.group_memory),
        "Disk": costs.map(|costs| costs.disk),
        "Processes": costs.map(|costs| costs.processes.iter().map(process).collect::<Vec<_>>()),
        "Hypervisor": side.machine.as_ref().map(|machine| json!({
            "Kind": hypervisor_kind(machine),
            "Accelerator": machine.accelerator,
            "Reason": machine.reason,
            "Emulator": machine.emulator,
            "GuestMemory": machine.memory,
        })),
    })
}

#[cfg(test)]
mod tests;
