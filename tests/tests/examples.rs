//! The directory `examples`, as its readers use it.

mod examples {
    mod dockerfiles;
}
