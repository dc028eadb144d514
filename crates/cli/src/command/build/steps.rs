//! How the commands of a build run, and flags of Docker's builder that change nothing here.

use std::collections::BTreeSet;

use holm_build::Dockerfile;
use holm_engine::StepLimits;
use holm_spec::workload::ExtraHost;

use crate::command_error::CommandError;
use crate::resolve::{memory, publish};
use crate::size;

/// What Docker's period of a processor's time is, in microseconds.
const PERIOD: u64 = 100_000;

/// Flags for the commands of `RUN`.
#[derive(Debug, Default, clap::Args)]
pub struct StepArguments {
    /// Name that commands of RUN know; may be repeated
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Processor time of a command in a period of --cpu-period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Period of --cpu-quota, in microseconds [default: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Memory of a command, such as 512m; 0 is no limit
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Make the steps of this stage anew; may be repeated
    #[arg(long, value_name = "STAGE")]
    no_cache_filter: Vec<String>,
    /// Fetch images that stages are made from, even if they are here
    #[arg(long)]
    pull: bool,
    /// Size of /dev/shm of a command, such as 128m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
}

impl StepArguments {
    /// Whether images are fetched that are here.
    pub fn pulls(&self) -> bool {
        self.pull
    }

    /// What commands may use.
    ///
    /// # Errors
    /// A size or a number that is none.
    pub fn limits(&self) -> Result<StepLimits, CommandError> {
        let memory = self.memory.as_deref().map(memory::parse).transpose();
        let shared = self.shm_size.as_deref().map(size::parse).transpose();
        Ok(StepLimits {
            memory: memory.map_err(|why| CommandError::flag("memory", why))?.flatten(),
            nano_cpus: self.processors()?,
            shared_memory: shared
                .map_err(|why| CommandError::flag("shm-size", why))?
                .filter(|size| *size > 0),
        })
    }

    /// Billionths of a processor; a quota of 0 or less is no limit, as for the kernel.
    fn processors(&self) -> Result<Option<u64>, CommandError> {
        let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(PERIOD);
        if !(1_000..=1_000_000).contains(&period) {
            return Err(CommandError::flag(
                "cpu-period",
                format!("`{period}` is not between 1000 and 1000000"),
            ));
        }
        let Some(quota) =
            self.cpu_quota.and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota > 0)
        else {
            return Ok(None);
        };
        if quota < 1_000 {
            return Err(CommandError::flag(
                "cpu-quota",
                format!("`{quota}` is less than 1000, the kernel's least"),
            ));
        }
        Ok(Some(quota.saturating_mul(1_000_000_000) / period))
    }

    /// Names that commands know.
    ///
    /// # Errors
    /// One without an address.
    pub fn hosts(&self) -> Result<Vec<ExtraHost>, CommandError> {
        let parse = |text: &String| publish::parse_host(text);
        let hosts = self.add_host.iter().map(parse).collect::<Result<_, _>>();
        hosts.map_err(|why| CommandError::flag("add-host", why))
    }

    /// Stages whose steps are made anew, by their numbers.
    ///
    /// # Errors
    /// There is no such stage.
    pub fn stages_anew(&self, dockerfile: &Dockerfile) -> Result<BTreeSet<usize>, CommandError> {
        let named = |name: &str| {
            let is_it = |stage: &holm_build::dockerfile::Stage| {
                stage.name.as_ref().is_some_and(|known| known.name.eq_ignore_ascii_case(name))
            };
            let by_number = || name.parse().ok().filter(|number| *number < dockerfile.stages.len());
            dockerfile.stages.iter().position(is_it).or_else(by_number)
        };
        let names = self.no_cache_filter.iter().flat_map(|names| names.split(','));
        let number = |name: &str| {
            named(name)
                .ok_or_else(|| CommandError::flag("no-cache-filter", format!("there is no stage `{name}`")))
        };
        names.map(number).collect()
    }
}

/// Flags that change nothing: steps leave nothing behind in any case, the context goes nowhere, and nothing is attested.
#[derive(Debug, clap::Args)]
pub struct TakenArguments {
    /// Taken as buildx does; the context is not sent anywhere
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    compress: Option<bool>,
    /// Taken as buildx does; what a step has beside its layer always goes
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    force_rm: Option<bool>,
    /// The same as --force-rm
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    rm: Option<bool>,
    /// How the image was made, as an attestation: false
    #[arg(long, value_name = "false", num_args = 0..=1, default_missing_value = "true")]
    provenance: Option<String>,
    /// What is in the image, as an attestation: false
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl TakenArguments {
    /// Refuses attestations.
    ///
    /// # Errors
    /// Some are asked for.
    pub fn check(&self) -> Result<(), CommandError> {
        for (flag, value) in [("provenance", &self.provenance), ("sbom", &self.sbom)] {
            if let Some(value) = value.as_deref().filter(|value| !matches!(*value, "false" | "disabled=true"))
            {
                return Err(CommandError::unsupported(&format!("--{flag}={value}"), "attestations"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_parts_of_processors() {
        let processors = |cpu_quota, cpu_period| {
            let arguments = StepArguments { cpu_quota, cpu_period, ..StepArguments::default() };
            arguments.processors().map_err(|error| error.message().unwrap_or_default().to_owned())
        };
        assert_eq!(processors(Some(50_000), None), Ok(Some(500_000_000)));
        assert_eq!(processors(Some(50_000), Some(25_000)), Ok(Some(2_000_000_000)));
        for quota in [None, Some(0), Some(-1)] {
            assert_eq!(processors(quota, Some(25_000)), Ok(None));
        }
        assert!(processors(Some(1), None).is_err_and(|why| why.contains("less than 1000")));
        assert!(processors(None, Some(1)).is_err_and(|why| why.contains("not between")));
    }

    #[test]
    fn stages_are_named_or_numbered() {
        let dockerfile =
            Dockerfile::parse("-", b"FROM scratch AS One\nFROM scratch\n").expect("a Dockerfile");
        let stages = |text: &str| {
            let no_cache_filter = vec![text.to_owned()];
            StepArguments { no_cache_filter, ..StepArguments::default() }.stages_anew(&dockerfile)
        };
        assert_eq!(stages("one").ok(), Some(BTreeSet::from([0])));
        assert_eq!(stages("ONE,1").ok(), Some(BTreeSet::from([0, 1])));
        assert!(stages("two").is_err() && stages("2").is_err());
    }
}
