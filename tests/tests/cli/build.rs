//! `build --check` with base images that are here.

use holm_tests::{Holm, tarball};

#[test]
fn a_check_knows_the_variables_of_images_that_are_here() {
    let holm = Holm::empty();
    let base = holm.file("base.tar", tarball::base());
    holm.ok(["import", "-c", "ENV HERE=1", &base, "here"]);
    for (dockerfile, warnings) in [
        ("FROM here\nCOPY $HERE /\n", ""),
        ("FROM here\nCOPY $HERE $ELSEWHERE /\n", "UndefinedVar"),
        (
            "FROM here AS a\nFROM a\nCOPY $HREE /\n",
            "UndefinedVar: nothing defines `$HREE`: did you mean `$HERE`?",
        ),
        ("FROM elsewhere\nCOPY $HERE /\n", ""),
        ("FROM --platform=linux/s390x here AS linux\nCOPY $HREE /\n", ""),
    ] {
        let told = holm.call(["build", "--check", "-"]).stdin(dockerfile).run();
        match warnings {
            "" => assert_eq!(told.ok(), "no warnings", "{dockerfile}"),
            warnings => assert!(told.expect_code(1).out().contains(warnings), "{dockerfile}"),
        }
    }
}
