//! A log file after whatever became of its disk: every line is a record or is none, and a record is what was said.
#![no_main]

use holm_engine::LogForm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for line in text.split(|byte| *byte == b'\n') {
        for form in [LogForm::Cri, LogForm::Json] {
            if let Some(record) = form.parse(line) {
                assert!(!record.full || record.bytes.ends_with(b"\n"));
            }
        }
    }
});
