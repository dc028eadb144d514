//! `holm wait`: waits until workloads end, or something else becomes of them.

use holm_engine::Condition;
use holm_spec::life::HealthStatus;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Wait until workloads end, and print their exit codes
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Conditions: stopped (the default), not-running (also not about to be started again), next-exit, removed,
running, healthy, unhealthy.

Examples:
  holm wait job                            prints 0 if it did well
  holm wait one two                        one exit code a line, in this order
  holm wait --condition healthy db         until its health check is passed"
)]
pub struct Args {
    /// What to wait for
    #[arg(long, value_name = "CONDITION")]
    condition: Option<String>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Waits for all.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let condition = args.condition.as_deref().map_or(Ok(None), parse);
    let condition = condition.map_err(|reason| CommandError::flag("condition", reason))?;
    let engine = context.engine()?;
    let wait = |name: &str| {
        let id = engine.find(name)?;
        Ok(match condition {
            None => engine.wait(&id)?,
            Some(condition) => engine.wait_for(&id, condition)?,
        })
    };
    several::together(context, &args.workloads, wait, |_, code| context.printer.line(code))
}

/// A condition by its name; none for the end of this run.
fn parse(name: &str) -> Result<Option<Condition>, String> {
    Ok(Some(match name {
        "stopped" | "exited" => return Ok(None),
        "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        "running" => Condition::Running,
        "healthy" => Condition::Health(HealthStatus::Healthy),
        "unhealthy" => Condition::Health(HealthStatus::Unhealthy),
        other => {
            return Err(format!(
                "unknown condition `{other}`: stopped, not-running, next-exit, removed, running, healthy and unhealthy are known"
            ));
        }
    }))
}
