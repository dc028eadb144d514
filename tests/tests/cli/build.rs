//! `build`: images from Dockerfiles, and what of them is made again; `--check` with base images that are here.

mod sources;

use std::process::Command;

use holm_tests::{Call, Holm, eventually, host, tarball};
use rustix::process::Signal;

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

/// A directory with a Dockerfile and other files, and an installation with the image `base`.
pub(crate) struct Site {
    pub(crate) holm: Holm,
}

impl Site {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let site = Self { holm: Holm::new() };
        site.write(files);
        site
    }

    pub(crate) fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.holm.scratch("context").join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
    }

    pub(super) fn context(&self) -> String {
        self.holm.scratch("context").to_string_lossy().into_owned()
    }

    pub(crate) fn call(&self, flags: &[&str]) -> Call {
        self.holm.call([&["build"], flags, &[&self.context()]].concat())
    }

    /// Builds; what was said.
    #[track_caller]
    pub(crate) fn build(&self, flags: &[&str]) -> String {
        let outcome = self.call(flags).run();
        outcome.expect_code(0);
        outcome.err()
    }

    /// The id that a build gives.
    #[track_caller]
    pub(super) fn id(&self, flags: &[&str]) -> String {
        self.call(&[&["-q"], flags].concat()).run().ok()
    }

    #[track_caller]
    pub(crate) fn sh(&self, image: &str, script: &str) -> String {
        self.holm.ok(["run", "--rm", "--entrypoint", "sh", image, "-c", script])
    }

    /// A build of this Dockerfile fails, and says why in these words.
    fn refuses(&self, dockerfile: &str, words: &str) {
        self.write(&[("Dockerfile", dockerfile)]);
        let outcome = self.call(&[]).run();
        outcome.expect_code(1);
        assert!(outcome.err().contains(words), "{dockerfile}: {}", outcome.err());
    }

    pub(super) fn cached(said: &str) -> usize {
        said.lines().filter(|line| line.ends_with(" CACHED")).count()
    }
}

const WHOLE: &str = r#"FROM base AS build
ARG VERSION=1
RUN echo "version $VERSION" >/out.txt
WORKDIR /app
COPY src/ ./
COPY --chown=app:extra --chmod=640 one.txt renamed.txt
FROM base
ENV A=1 B="2 3"
COPY --from=build /out.txt /app /data/
COPY <<FILE /etc/motd
hello $A
FILE
USER app
WORKDIR work
EXPOSE 80 443/udp
VOLUME /state
LABEL x=y
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["cat"]
CMD ["/data/out.txt"]
"#;

#[test]
fn a_dockerfile_becomes_an_image() {
    let files = [("Dockerfile", WHOLE), ("src/a", "a"), ("src/deep/b", "b"), ("one.txt", "one")];
    let site = Site::new(&files);
    let said = site.build(&["-t", "app:1", "-t", "other", "--build-arg", "VERSION=7", "--label", "z=w"]);
    assert!(said.contains("[build 2/5] RUN echo") && said.contains("named app:1"), "{said}");
    assert_eq!(site.holm.ok(["run", "--rm", "app:1"]), "version 7");
    assert_eq!(
        site.sh("other", "cd /data; ls -lR | tr -s ' ' | cut -d' ' -f1,3,4,9 | sed 's/ *$//'; cat deep/b /etc/motd; pwd; id -un; ls -ld /work | cut -d' ' -f1; echo $B"),
        ".:\ntotal\n-rw-r--r-- root root a\ndrwxr-xr-x root root deep\n-rw-r--r-- root root out.txt\n\
        -rw-r----- app extra renamed.txt\n\n./deep:\ntotal\n-rw-r--r-- root root b\nbhello 1\n/data\napp\ndrwxr-xr-x\n2 3"
    );
    let about = site.holm.ok([
        "image", "inspect", "app:1", "-f",
        "{{.Config.WorkingDir}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{json .Config.Labels}} {{.Config.StopSignal}} {{json .Config.Healthcheck}}",
    ]);
    assert_eq!(
        about,
        r#"/work {"443/udp":{},"80/tcp":{}} {"/state":{}} {"x":"y","z":"w"} SIGINT {"Interval":5000000000,"Test":["CMD-SHELL","true"]}"#
    );
    assert_eq!(site.holm.workloads(), Vec::<String>::new());
}

#[test]
fn only_what_changed_is_made_again() {
    let dockerfile = "FROM base\nRUN cat /proc/sys/kernel/random/uuid >/first\nCOPY one.txt /\nCOPY two.txt /\nRUN cat /proc/sys/kernel/random/uuid >/last\nENV A=1\n";
    let site = Site::new(&[("Dockerfile", dockerfile), ("one.txt", "1"), ("two.txt", "2")]);
    let first = site.id(&["-t", "app"]);
    assert_eq!(site.id(&[]), first, "the same steps make the same image");
    let said = site.build(&[]);
    assert_eq!((Site::cached(&said), said.contains("0 steps made, 4 cached")), (5, true), "{said}");
    // Times are not what a file is.
    site.write(&[("one.txt", "1")]);
    assert_eq!(site.id(&[]), first);
    site.write(&[("two.txt", "changed")]);
    let said = site.build(&["-t", "new"]);
    assert!(said.contains("2 steps made, 2 cached"), "{said}");
    assert_eq!(site.sh("new", "cat /first"), site.sh("app", "cat /first"));
    assert_ne!(site.sh("new", "cat /last"), site.sh("app", "cat /last"));
    let said = site.build(&["--no-cache"]);
    assert!(said.contains("4 steps made, 0 cached"), "{said}");
    // What a command cannot see makes nothing anew; what it sees does.
    site.write(&[("Dockerfile", &dockerfile.replace("FROM base\n", "FROM base\nLABEL a=b\n"))]);
    assert!(site.build(&[]).contains("0 steps made, 4 cached"));
    site.write(&[("Dockerfile", &dockerfile.replace("FROM base\n", "FROM base\nENV A=b\n"))]);
    assert!(site.build(&[]).contains("4 steps made, 0 cached"));
    // A layer of its own outlives its base.
    let linked = "ARG BASE=base\nFROM $BASE\nCOPY --link one.txt /linked/\n";
    site.write(&[("Dockerfile", linked)]);
    site.build(&[]);
    assert!(site.build(&["--build-arg", "BASE=new", "-t", "linked"]).contains("0 steps made, 1 cached"));
    assert_eq!(site.sh("linked", "cat /linked/one.txt /two.txt"), "1changed");
}

#[test]
fn what_fails_is_told_with_its_line_and_leaves_nothing() {
    let site = Site::new(&[("Dockerfile", "FROM base\nRUN echo one; \\\n    echo two >&2; exit 3\n")]);
    let images = site.holm.ok(["images", "-a", "-q"]);
    let outcome = site.call(&["-t", "app"]).run();
    outcome.expect_code(1);
    let said = outcome.err();
    assert!(said.contains(" one\n") && said.contains(" two\n"), "{said}");
    assert!(
        said.contains("Dockerfile:2:1: the command ended with exit code 3\n   2 | RUN echo one"),
        "{said}"
    );
    for (dockerfile, words) in [
        (
            "FROM base\nCOPY absent /\n",
            "Dockerfile:2:1: `absent` is not there, or left out by the ignore file",
        ),
        ("FROM base\nCOPY ../../etc/passwd /\n", "is not there"),
        ("FROM base\nCOPY d /etc/passwd\n", "is there and no directory"),
        ("FROM base\nCOPY d/file /etc\nCOPY d /etc/file\n", "`/etc/file` is there and no directory"),
        ("FROM base\nCOPY --chown=nobody-knows d /d\n", "`nobody-knows` is not in the image's /etc/passwd"),
        ("FROM base\nRUN --mount=type=secret,id=token,required=true true\n", "secret `token` is not given"),
        ("FROM scratch\nENV A=1\n", "the image has no files"),
        ("FROM scratch\nRUN true\n", "no files yet"),
        ("FROM base\nADD git://h/x#--upload-pack=y /\n", "is no reference of Git's"),
        ("FROM nothing-here\n", "Dockerfile:1:6:"),
    ] {
        site.write(&[("Dockerfile", dockerfile), ("d/file", "x")]);
        let outcome = site.call(&["-t", "app"]).run();
        outcome.expect_code(1);
        assert!(outcome.err().contains(words), "{dockerfile}: {}", outcome.err());
    }
    assert_eq!(site.holm.ok(["images", "-a", "-q"]), images, "nothing is tagged or left");
    assert_eq!(site.holm.workloads(), Vec::<String>::new());
}

#[test]
fn secrets_and_caches_are_no_part_of_the_image() {
    let dockerfile = "FROM base\n\
        RUN --mount=type=secret,id=token --mount=type=secret,id=other,target=/deep/er,uid=1000,mode=0440 \
        cat /run/secrets/token; ls -ln /deep/er | tr -s ' '\n\
        RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/mem echo x >>/cache/n; cat /cache/n; touch /mem/x\n\
        RUN --mount=type=bind,source=src,target=/from --mount=type=bind,from=base,source=/etc,target=/of \
        cat /from/a /of/plain >/got\n";
    let site = Site::new(&[("Dockerfile", dockerfile), ("src/a", "in the context\n")]);
    let [token, other] = ["token", "other"].map(|name| site.holm.file(name, format!("secret {name}\n")));
    let (token, other) = (format!("id=token,src={token}"), format!("src={other},id=other"));
    let flags = ["-t", "app", "--secret", &token, "--secret", &other];
    let said = site.build(&flags);
    assert!(said.contains("secret token") && said.contains("-r--r----- 1 1000 0 13 "), "{said}");
    assert_eq!(
        site.sh("app", "ls /run/secrets /cache /mem /from /of /deep/er 2>&1 | grep -v 'No such'; cat /got"),
        "in the context\nnot a program"
    );
    let said = site.build(&[&flags[..], &["--no-cache"]].concat());
    assert_eq!(said.lines().filter(|line| line.ends_with(" x")).count(), 2, "the cache stays: {said}");
    let traces = Command::new("grep")
        .args(["-rla", "secret token"])
        .arg(site.holm.root())
        .arg(site.holm.run_root())
        .output();
    assert_eq!(String::from_utf8_lossy(&traces.unwrap().stdout), "");
}

#[test]
fn ignore_files_exclusions_and_archives() {
    let dockerfile =
        "FROM base\nCOPY --exclude=**/*.log . /all/\nADD files.tar.gz /unpacked/\nCOPY files.tar.gz /kept/\n";
    let site = Site::new(&[
        ("Dockerfile", dockerfile),
        (".dockerignore", "secret\n*/tmp\n!keep/tmp\nDockerfile\n.dockerignore\n"),
        ("secret", "x"),
        ("a/tmp/x", "x"),
        ("keep/tmp/x", "x"),
        ("a/b.log", "x"),
        ("a/b.txt", "x"),
    ]);
    let context = site.context();
    site.holm.host_shell(&format!("mkdir -p t/in; echo packed >t/in/file; ln -s in/file t/link; tar -C t -czf {context}/files.tar.gz in link")).ok();
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "cd /all; find . | sort; cat /unpacked/link; ls /kept"),
        ".\n./a\n./a/b.txt\n./files.tar.gz\n./keep\n./keep/tmp\n./keep/tmp/x\npacked\nfiles.tar.gz"
    );
}

#[test]
fn directories_below_stay_as_they_are() {
    let dockerfile = "FROM base\nRUN mkdir -m 1770 /shared && chown app:extra /shared && ln -s /shared /link && mkdir /shared/in\n\
        COPY a /link/\nCOPY a /link/in\nADD a /new/deep/\nCOPY a /shared/b\n";
    let site = Site::new(&[("Dockerfile", dockerfile), ("a", "text")]);
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "ls -ld /link /shared /new/deep | tr -s ' ' | cut -d' ' -f1,3,4,9; find /shared | sort; cat /new/deep/a"),
        "lrwxrwxrwx root root /link\ndrwxr-xr-x root root /new/deep\ndrwxrwx--T app extra /shared\n\
        /shared\n/shared/a\n/shared/b\n/shared/in\n/shared/in/a\ntext"
    );
}

#[test]
fn images_ask_for_more_where_they_are_built_upon() {
    let parent = "FROM base\nONBUILD COPY one.txt /\nONBUILD RUN cat /one.txt >/two.txt\n";
    let site = Site::new(&[("Dockerfile", parent), ("one.txt", "1")]);
    site.build(&["-t", "parent"]);
    let child = "FROM parent AS first\nRUN echo first >/first\nFROM first AS second\nRUN exit 1\n";
    site.write(&[("Dockerfile", child)]);
    site.build(&["-t", "child", "--target", "first"]);
    assert_eq!(site.sh("child", "cat /two.txt /first"), "1first");
    assert_eq!(site.holm.ok(["image", "inspect", "child", "-f", "{{json .Config.OnBuild}}"]), "null");
}

#[test]
fn with_a_time_of_its_own_a_build_is_the_same_anywhere() {
    let dockerfile = "FROM scratch\nADD base.tar /\nWORKDIR /app\nRUN mkdir /made && echo x >/made/file && rm /etc/plain\nCOPY <<X /text\nx\nX\n";
    let digests = [0, 1].map(|_| {
        let site = Site::new(&[("Dockerfile", dockerfile)]);
        std::fs::write(site.holm.scratch("context/base.tar"), tarball::base()).unwrap();
        let build = site.call(&["-q", "-t", "app"]).env("SOURCE_DATE_EPOCH", "1700000000");
        (build.run().ok(), site.holm.ok(["image", "inspect", "app", "-f", "{{.Created}} {{.RootFS.Layers}}"]))
    });
    assert_eq!(digests[0], digests[1]);
    assert!(digests[0].1.starts_with("2023-11-14T22:13:20Z"), "{digests:?}");
}

/// What is left of a build that was interrupted or killed in a step goes: at once, or with the next command.
#[test]
fn a_build_that_is_ended_leaves_no_step_running() {
    for signal in [Signal::INT, Signal::KILL] {
        let site = Site::new(&[("Dockerfile", "FROM base\nRUN echo begun; sleep 1000\n")]);
        let build = site.call(&["-t", "app"]).spawn();
        eventually("the step runs", || site.holm.workloads().len() == 1);
        let id = site.holm.workloads().remove(0);
        eventually("its keeper is there", || !host::keepers(&id).is_empty());
        build.signal(signal);
        let outcome = build.finish();
        if signal == Signal::INT {
            outcome.expect_code(1);
            assert!(outcome.err().contains("interrupted"), "{}", outcome.err());
            assert!(host::keepers(&id).is_empty());
        }
        let said = site.holm.run(["ps", "-a", "-q"]);
        assert_eq!(
            (said.out(), said.err().contains("a step of a build that was killed")),
            (String::new(), signal == Signal::KILL)
        );
        assert_eq!(site.holm.ok(["images", "-a", "-q"]).lines().count(), 1);
        site.write(&[("Dockerfile", "FROM base\nRUN echo begun\n")]);
        site.build(&["-t", "app"]);
    }
}

/// What a Dockerfile says, somebody else may have written: it gets nothing of the host but its context.
#[test]
fn a_dockerfile_gets_nothing_of_the_host() {
    let site =
        Site::new(&[("f", "of the context\n"), (".dockerignore", "hidden\n"), ("hidden/key", "secret\n")]);
    site.holm
        .host_shell(&format!(
            "cd {}; ln -s / root; ln -s hidden seen; mkdir sub; ln -s /f sub/f",
            site.context()
        ))
        .ok();
    for (dockerfile, words) in [
        ("FROM base\nRUN --mount=type=bind,source=root,target=/host ls /host/etc/shadow\n", ""),
        ("FROM base\nCOPY root/etc/shadow /\n", "is not there"),
        ("FROM base\nCOPY seen /seen\n", "is not there"),
        ("FROM base\nRUN --mount=type=bind,target=/c ls /c/hidden\n", ""),
        ("FROM base\nRUN --security=insecure true\n", "`RUN --security=insecure` was not allowed"),
        ("FROM base\nRUN --network=host true\n", "was not allowed"),
        (
            "FROM --platform=linux/s390x base\nRUN true\n",
            "image `base` is here for linux/amd64, not for linux/s390x; ",
        ),
    ] {
        site.refuses(dockerfile, words);
    }
    site.write(&[(
        "Dockerfile",
        "FROM base\nCOPY sub/f /got\nRUN --mount=type=bind,source=f,target=/in cat /in >>/got\n",
    )]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /got"), "of the context\nof the context");
}

#[test]
fn files_of_stages_come_as_they_are() {
    let dockerfile = "FROM base AS made\nRUN mkdir /t; cd /t; echo x >one; ln one two; chown app one; chmod 4755 one; \
        ln -s one link; mkfifo pipe; mkdir -m 750 dir; printf 1 >\"$(printf 'a\\377')\"; printf 22 >\"$(printf 'a\\357\\277\\275')\"\n\
        FROM base\nCOPY --from=made /t /u\nCOPY --from=made /t/one /v1.\n";
    let site = Site::new(&[("Dockerfile", dockerfile)]);
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "cd /u; ls -l one link pipe | tr -s ' ' | cut -d' ' -f1-3; ls -ld dir | cut -d' ' -f1; cat a*; [ one -ef two ] && echo same; ls -l /v1. | cut -d' ' -f1"),
        "lrwxrwxrwx 1 root\n-rwsr-xr-x 2 app\nprw-r--r-- 1 root\ndrwxr-x---\n221same\n-rwsr-xr-x"
    );
}

#[test]
fn what_is_said_of_commands_and_variables() {
    let site = Site::new(&[]);
    for (dockerfile, template, expected) in [
        ("FROM base\nCMD [\"x\"]\nENTRYPOINT [\"cat\"]\n", "{{json .Config.Cmd}}", r#"["x"]"#),
        (
            "FROM base\nCMD [\"x\"]\nONBUILD RUN true\nFROM stage\nENTRYPOINT [\"cat\"]\n",
            "{{json .Config.Cmd}} {{json .Config.OnBuild}}",
            "null null",
        ),
        (
            "FROM base\nENV PATH=$PATH:/app\n",
            "{{json .Config.Env}}",
            r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/app"]"#,
        ),
        (
            "FROM base\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD ls\n",
            "{{json .Config.Cmd}}",
            r#"["/bin/sh","-ec","ls"]"#,
        ),
        (
            "FROM base\nMAINTAINER somebody\nUSER 1000:2000\n",
            "{{.Author}} {{.Config.User}}",
            "somebody 1000:2000",
        ),
    ] {
        site.write(&[(
            "Dockerfile",
            &dockerfile.replace("FROM base\n", "FROM base AS stage\nCOPY Dockerfile /\n"),
        )]);
        site.build(&["-t", "app"]);
        assert_eq!(site.holm.ok(["image", "inspect", "app", "-f", template]), expected, "{dockerfile}");
    }
}

#[test]
fn a_time_of_its_own_makes_other_layers() {
    let site = Site::new(&[("Dockerfile", "FROM base\nCOPY f /\n"), ("f", "x")]);
    let plain = site.id(&[]);
    let id = |epoch: &str| site.call(&["-q"]).env("SOURCE_DATE_EPOCH", epoch).run().ok();
    let (one, two) = (id("1000"), id("2000"));
    assert!(plain != one && one != two);
    assert_eq!(id("1000"), one);
}

/// The same steps, at the same time, on the same layers.
#[test]
fn builds_beside_each_other_do_not_disturb_each_other() {
    let dockerfile = "FROM base\nARG N\nRUN echo shared >/shared\nRUN echo $N >/own\nCOPY f /\n";
    let site = Site::new(&[("Dockerfile", dockerfile), ("f", "x")]);
    for flags in [&["--no-cache"][..], &[]] {
        let builds: Vec<_> = (0..6)
            .map(|number| {
                let (argument, name) = (format!("N={number}"), format!("app{number}"));
                site.call(&[&["--build-arg", &argument, "-t", &name][..], flags].concat()).spawn()
            })
            .collect();
        for build in builds {
            build.finish().expect_code(0);
        }
        for number in 0..6 {
            assert_eq!(site.sh(&format!("app{number}"), "cat /shared /own"), format!("shared\n{number}"));
        }
    }
    let cache = "FROM base\nRUN --mount=type=cache,id=c,target=/a,sharing=locked --mount=type=cache,id=c,target=/b echo x >/a/x; cat /b/x\n";
    site.write(&[("Dockerfile", cache)]);
    assert!(site.build(&[]).contains(" x\n"), "one step has a cache twice");
    assert_eq!(site.holm.workloads(), Vec::<String>::new());
}

#[test]
fn names_of_stages_mean_what_they_mean_where_they_stand() {
    let dockerfile = "FROM base AS one\nRUN echo first >/f\nFROM base AS two\nRUN --mount=type=bind,from=one,target=/o cp /o/f /f; echo second >>/f\n\
        FROM base\nCOPY --from=0 /f /zero\nCOPY --from=TWO /f /two\nRUN --mount=type=bind,from=two,source=f,target=/m cat /m >/got\n";
    let site = Site::new(&[("Dockerfile", dockerfile)]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /zero /two /got"), "first\nfirst\nsecond\nfirst\nsecond");
}

#[test]
fn several_sources_do_not_hide_each_other() {
    let site = Site::new(&[
        ("x/f", "one"),
        ("y/f", "two"),
        ("s1/n/in", "in"),
        ("s2/n", "file"),
        ("prod.env", "secret"),
        ("README.md", "r"),
    ]);
    site.write(&[(".dockerignore", "*.env\n!**/README.md\n")]);
    site.holm.host_shell(&format!("cd {}; ln x/f y/g", site.context())).ok();
    for (dockerfile, words) in [
        ("FROM base\nCOPY s1 s2 /d/\n", "cannot copy a file to `/d/n`, which is a directory"),
        ("FROM base\nCOPY s2 s1 /d/\n", "cannot copy a directory to `/d/n`, which is none"),
        ("FROM base\nCOPY prod.env /leak\n", "is not there, or left out"),
        ("FROM base\nCOPY <<.wh.plain /etc/\nx\n.wh.plain\n", "cannot begin with `.wh.`"),
        ("FROM base\nCOPY x /z/.wh..wh..opq/\n", "cannot begin with `.wh.`"),
    ] {
        site.refuses(dockerfile, words);
    }
    // Another name of a file whose first name something else has by now.
    let dockerfile = "FROM base AS s\nCOPY x y /d/\nRUN rm /d/g; ln /d/f /g; mkdir /x /y; ln /d/f /x/f; echo other >/y/f; ln /d/f /y/g\n\
        FROM base\nCOPY x y /d/\nCOPY --from=s /x /y /e/\n";
    site.write(&[("Dockerfile", dockerfile)]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /d/f /d/g /e/f /e/g"), "twooneother\ntwo");
}

#[test]
fn steps_stay_until_they_are_pruned() {
    let site = Site::new(&[("Dockerfile", "FROM base\nRUN echo x >/x\nCOPY f /\n"), ("f", "x")]);
    site.build(&["-t", "app"]);
    site.holm.ok(["rmi", "app"]);
    assert!(site.build(&[]).contains("0 steps made, 2 cached"));
    let pruned = site.holm.ok(["system", "prune", "-f"]);
    assert!(pruned.contains("Deleted steps of builds:\n2\n") && !pruned.ends_with(" 0B"), "{pruned}");
    assert!(site.build(&["-t", "app"]).contains("2 steps made, 0 cached"));
    site.holm.ok(["system", "prune", "-f"]);
    assert_eq!(site.sh("app", "cat /x /f"), "x\nx", "what an image needs stays");
}

#[test]
fn commands_keep_to_their_limits_and_know_names() {
    let dockerfile =
        "FROM base AS first\nRUN df -k /dev/shm | tail -n 1; cat /etc/hosts\nFROM first\nRUN echo second\n";
    let site = Site::new(&[("Dockerfile", dockerfile)]);
    let flags = [
        "--memory",
        "64m",
        "--cpu-quota",
        "50000",
        "--shm-size",
        "8m",
        "--rm=false",
        "--compress",
        "--provenance=false",
    ];
    let said = site.build(&flags);
    assert!(said.contains(" 8192 "), "{said}");
    assert!(site.build(&[]).contains("0 steps made, 2 cached"), "limits are no part of what is done");
    let said = site.build(&["--add-host", "db:192.0.2.7"]);
    assert!(said.contains("192.0.2.7") && said.contains("2 steps made"), "{said}");
    assert!(site.build(&["--no-cache-filter", "first"]).contains("1 step made, 1 cached"));
    assert!(site.build(&["--no-cache-filter", "1"]).contains("1 step made, 1 cached"));
    for (flags, words) in [
        (&["--no-cache-filter", "third"][..], "--no-cache-filter: there is no stage `third`"),
        (&["--memory", "1m"], "--memory"),
        (&["--add-host", "db"], "--add-host"),
        (&["--sbom=true"], "--sbom=true is not supported yet"),
        (&["--ulimit", "nofile=1"], "--ulimit is not supported yet"),
        (&["-o", "type=disk,dest=x"], "--output type=disk is not supported yet"),
    ] {
        site.call(flags).run().refused(125, &[words]);
    }
    let outcome = site.call(&["--pull"]).run();
    outcome.expect_code(1);
    assert!(outcome.err().contains("Dockerfile:1:6: pull `base"), "it asks the registry: {}", outcome.err());
}
