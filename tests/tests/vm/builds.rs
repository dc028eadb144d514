//! Steps of builds in machines.

use super::traces::with_machines;

const DOCKERFILE: &str = "FROM base AS made\n\
    RUN cat /proc/sys/kernel/osrelease > /kernel && mkdir /d && chown 33:44 /d && echo made > /d/f\n\
    FROM base\n\
    COPY --from=made /kernel /\n\
    RUN --mount=type=cache,target=/c --mount=type=secret,id=token,env=TOKEN,target=/t \
    --mount=type=bind,from=made,source=/d,target=/m --mount=type=bind,target=/w,rw \
    [ \"$(cat /t)\" = \"$TOKEN\" ] && cat /m/f > /seen && echo kept > /c/f && echo more >> /w/Dockerfile && rm /etc/passwd\n\
    RUN --mount=type=cache,target=/c cat /c/f >> /seen; stat -c %u:%g /kernel >> /seen\n\
    RUN <<EOF\n#!/bin/sh -e\necho script >> /seen\nEOF\n";

#[test]
#[ignore = "boots virtual machines"]
fn leave_what_they_would_in_containers() {
    with_machines(|holm| {
        let context = holm.scratch("context");
        std::fs::create_dir_all(&context).expect("a directory");
        std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a file");
        let context = context.to_string_lossy().into_owned();
        let build = |words: &[&str]| {
            let words = [&["build", "--secret", "id=token,env=VALUE"], words, &[&context]].concat();
            let outcome = holm.call(words).env("VALUE", "secret").run();
            outcome.expect_code(0);
            outcome.err()
        };
        build(&["--vm", "-t", "app"]);
        // Steps are the same wherever they were made: a container finds all of them.
        assert!(build(&["-t", "again"]).contains("0 steps made, 5 cached"));
        let script = "cat /seen; [ -e /etc/passwd ] || echo gone; [ -e /w ] || [ -e /c ] || [ -e /m ] || echo none; cat /kernel";
        let seen = holm.ok(["run", "--rm", "app", "sh", "-c", script]);
        let (seen, kernel) = seen.rsplit_once('\n').expect("lines");
        assert_eq!(seen, "made\nkept\n0:0\nscript\ngone\nnone");
        let here = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
        assert_ne!(kernel, here.trim(), "it ran on the host");
        assert_eq!(holm.ok(["ps", "-aq"]), "");
        let outcome = holm.call(["build", "--vm", "-"]).stdin("FROM base\nRUN exit 7\n").run();
        assert!(outcome.expect_code(1).err().contains("exit code 7"), "{}", outcome.err());
    });
}
