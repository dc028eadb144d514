//! What the OCI runtime remembers of a container: a file that is damaged is an error and no panic.
#![no_main]

use holm_runtime::state::parse_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(record) = parse_record(text) {
        let again = serde_json::to_vec(&record).expect("a record is plain data");
        assert_eq!(parse_record(&again).expect("it was just written"), record);
    }
});
