//! A message of a bus: whoever sits behind the socket that the environment names may write anything.
#![no_main]

use holm_runtime::systemd::ended_job;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Some((job, result)) = ended_job(message) {
        assert!(job.len() + result.len() < message.len());
    }
});
