//! What keeps a workload alive, and how it is known to be: restart policies and health checks, by Docker's rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What is to happen when a workload has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if it failed.
    OnFailure {
        /// So many times in a row, at most; for ever if absent.
        limit: Option<u32>,
    },
    /// It is started again, unless it was stopped; after a boot in any case.
    Always,
    /// It is started again, unless it was stopped.
    UnlessStopped,
}

impl RestartPolicy {
    /// Whether a workload is started again that ended with this code, was started again so many times in a row, and was
    /// asked to end or not.
    pub fn restarts(self, code: i32, times: u32, stopped: bool) -> bool {
        match self {
            Self::No => false,
            _ if stopped => false,
            Self::OnFailure { limit } => code != 0 && limit.is_none_or(|limit| times < limit),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether it is started again after a boot of the host.
    pub fn restarts_at_boot(self, code: i32, times: u32, stopped: bool) -> bool {
        self == Self::Always || self.restarts(code, times, stopped)
    }

    /// Docker's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure { limit: Some(limit) } => write!(f, "on-failure:{limit}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text.split_once(':').map_or((text, None), |(name, limit)| (name, Some(limit)));
        match (name, limit) {
            ("" | "no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None) => Ok(Self::OnFailure { limit: None }),
            ("on-failure", Some(limit)) => match limit.parse() {
                Ok(0) => Ok(Self::OnFailure { limit: None }),
                Ok(limit) => Ok(Self::OnFailure { limit: Some(limit) }),
                Err(_) => Err(format!("`{limit}` is no number of restarts")),
            },
            ("no" | "always" | "unless-stopped", Some(_)) => {
                Err(format!("`{name}` takes no number of restarts: on-failure does"))
            }
            _ => Err(format!(
                "unknown policy `{text}`: no, on-failure[:N], always and unless-stopped are known"
            )),
        }
    }
}

/// How a workload's health is found out: a program that is run in it again and again. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Docker's form: `CMD` and a program with its arguments, or `CMD-SHELL` and a line for a shell.
    pub test: Vec<String>,
    /// From the end of one check to the start of the next.
    pub interval: u64,
    /// How long one may take.
    pub timeout: u64,
    /// Failures in a row that make the workload unhealthy.
    pub retries: u32,
    /// How long the workload may take to become healthy: until then failures do not count.
    pub start_period: u64,
    /// From one check to the next while that lasts.
    pub start_interval: u64,
}

impl HealthCheck {
    /// Docker's defaults for what nobody said: nanoseconds of the interval and of the timeout, failures, nanoseconds between
    /// checks at first.
    pub const DEFAULTS: (u64, u64, u32, u64) = (30_000_000_000, 30_000_000_000, 3, 5_000_000_000);

    /// The program to run, with its arguments.
    pub fn arguments(&self) -> Vec<String> {
        match self.test.split_first() {
            Some((kind, line)) if kind == "CMD-SHELL" => {
                ["/bin/sh", "-c"].into_iter().map(str::to_owned).chain(line.first().cloned()).collect()
            }
            Some((_, program)) => program.to_vec(),
            None => Vec::new(),
        }
    }
}

/// How a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has been passed yet.
    Starting,
    /// The last check was passed, or not enough have failed since.
    Healthy,
    /// Too many checks have failed in a row.
    Unhealthy,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// One check, in Docker's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Exit code of the program; -1 if it took too long or could not be run.
    pub exit_code: i32,
    /// What it wrote, at most [`OUTPUT_LIMIT`] bytes.
    pub output: String,
}

/// How many checks are remembered.
pub const RESULTS_LIMIT: usize = 5;
/// Most bytes of output of a check that are remembered.
pub const OUTPUT_LIMIT: usize = 4096;

/// What is known of a workload's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing: u32,
    /// The last checks, the oldest first.
    pub results: Vec<HealthResult>,
}

impl Health {
    /// Before the first check.
    pub fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing: 0, results: Vec::new() }
    }

    /// Takes a result in; `grace`: the workload may still be on its way up.
    pub fn take(&mut self, check: &HealthCheck, result: HealthResult, grace: bool) {
        let passed = result.exit_code == 0;
        if passed {
            (self.failing, self.status) = (0, HealthStatus::Healthy);
        } else if !(grace && self.status == HealthStatus::Starting) {
            self.failing = self.failing.saturating_add(1);
            if self.failing >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.results.len() >= RESULTS_LIMIT {
            self.results.remove(0);
        }
        self.results.push(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_shown() {
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(text.parse::<RestartPolicy>().map(|policy| policy.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure { limit: None }));
        for text in ["sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_started_again() {
        let limited = RestartPolicy::OnFailure { limit: Some(2) };
        for (policy, code, times, stopped, expected, at_boot) in [
            (RestartPolicy::No, 1, 0, false, false, false),
            (RestartPolicy::Always, 0, 99, false, true, true),
            (RestartPolicy::Always, 0, 0, true, false, true),
            (RestartPolicy::UnlessStopped, 0, 0, false, true, true),
            (RestartPolicy::UnlessStopped, 0, 0, true, false, false),
            (limited, 0, 0, false, false, false),
            (limited, 1, 1, false, true, true),
            (limited, 1, 2, false, false, false),
            (limited, 143, 0, true, false, false),
        ] {
            assert_eq!(policy.restarts(code, times, stopped), expected, "{policy} {code} {times} {stopped}");
            assert_eq!(
                policy.restarts_at_boot(code, times, stopped),
                at_boot,
                "{policy} {code} {times} {stopped}"
            );
        }
    }

    #[test]
    fn health_follows_the_checks() {
        let (interval, timeout, _, start_interval) = HealthCheck::DEFAULTS;
        let test = vec!["CMD-SHELL".to_owned(), "exit 1".to_owned()];
        let check = HealthCheck { test, interval, timeout, retries: 2, start_period: 0, start_interval };
        assert_eq!(check.arguments(), ["/bin/sh", "-c", "exit 1"]);
        let result = |exit_code| HealthResult {
            start: Timestamp::NEVER,
            end: Timestamp::NEVER,
            exit_code,
            output: String::new(),
        };
        let mut health = Health::starting();
        let mut after = |code, grace| {
            health.take(&check, result(code), grace);
            (health.status, health.failing)
        };
        assert_eq!(after(1, true), (HealthStatus::Starting, 0));
        assert_eq!(after(1, false), (HealthStatus::Starting, 1));
        assert_eq!(after(0, false), (HealthStatus::Healthy, 0));
        assert_eq!(after(1, true), (HealthStatus::Healthy, 1), "it was healthy before");
        assert_eq!(after(-1, false), (HealthStatus::Unhealthy, 2));
        assert_eq!(after(0, false), (HealthStatus::Healthy, 0));
        assert_eq!(health.results.len(), RESULTS_LIMIT);
    }
}
