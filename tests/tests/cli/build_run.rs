//! `build`: what `RUN` sees besides its layers.

use std::os::unix::net::UnixListener;

use super::build::Site;

/// A secret in a variable is in no file of the installation, in no layer, and makes nothing anew.
#[test]
fn secrets_in_variables() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base\n\
         RUN --mount=type=secret,id=token,env=TOKEN,required [ ${#TOKEN} = 21 ] && ! [ -e /run/secrets/token ] && \
         echo made > /made\n\
         RUN --mount=type=secret,id=token,env=TOKEN,target=/t [ \"$(cat /t)\" = \"$TOKEN\" ]\n\
         RUN --mount=type=secret,id=other,env=OTHER [ -z \"${OTHER+set}\" ]\n",
    )]);
    let built = |flag: &str, value: &str| {
        let outcome = site.call(&["-t", "app", "--secret", flag]).env("VARIABLE", value).run();
        outcome.expect_code(0);
        outcome.err()
    };
    let secret = ["never-", "to-be-", "found-", "123"].concat();
    assert!(built("id=token,env=VARIABLE", &secret).contains("3 steps made"));
    assert!(built("id=token,type=env,src=VARIABLE", "another").contains("3 cached"));
    assert_eq!(site.sh("app", "cat /made; echo ${TOKEN-unset}"), "made\nunset");
    let found = site.holm.host_shell(&format!("grep -rlF {secret} {} || true", site.holm.root().display()));
    assert_eq!(found.ok(), "");
    for (flag, words) in [
        ("id=token,env=NOT_THERE", "there is no variable `NOT_THERE`"),
        ("id=token", "there is no file `token`"),
        ("src=/etc/passwd", "it has no id"),
    ] {
        site.call(&["--secret", flag]).run().refused(125, &[words]);
    }
    let outcome = site.call(&["--no-cache"]).run();
    assert!(outcome.expect_code(1).err().contains("secret `token` is not given"), "{}", outcome.err());
}

#[test]
fn a_secret_by_its_name_alone_is_a_variable_or_a_file() {
    let site =
        Site::new(&[("Dockerfile", "FROM base\nRUN --mount=type=secret,id=BOTH cat /run/secrets/BOTH\n")]);
    let outcome = site.call(&["--secret", "id=BOTH"]).env("BOTH", "a variable").run();
    assert!(outcome.expect_code(0).err().contains(" a variable\n"), "{}", outcome.err());
}

#[test]
fn what_is_written_to_a_bind_goes_with_the_step() {
    let site = Site::new(&[
        (
            "Dockerfile",
            "FROM base AS other\nRUN mkdir /o && echo o > /o/f\n\
             FROM base\n\
             RUN --mount=type=bind,target=/w,rw echo more >> /w/f && cat /w/f > /seen && touch /w/new\n\
             RUN --mount=type=bind,target=/w [ \"$(cat /w/f)\" = one ] && ! [ -e /w/new ] && ! touch /w/new\n\
             RUN --mount=type=bind,from=other,source=/o/f,target=/f,rw echo more >> /f && cat /f >> /seen\n\
             RUN --mount=type=bind,from=other,source=/o,target=/o,rw rm /o/f\n",
        ),
        ("f", "one\n"),
    ]);
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "cat /seen; [ -e /w ] || [ -e /o ] || [ -e /f ] || echo gone"),
        "one\nmore\no\nmore\ngone"
    );
    assert_eq!(std::fs::read_to_string(site.holm.scratch("context/f")).expect("a file"), "one\n");
}

#[test]
fn a_cache_begins_with_files() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base AS seed\nRUN mkdir -p /s/d && echo seed > /s/d/f\n\
         FROM base\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/d/f > /first; echo more >> /c/d/f\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/d/f > /second\n",
    )]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /first; echo; cat /second"), "seed\n\nseed\nmore");
}

/// Other files, another cache: also where it has the same name.
#[test]
fn a_cache_that_begins_with_other_files_is_another() {
    let build = |text: &str, site: &Site| {
        let dockerfile = format!(
            "FROM base AS seed\nRUN mkdir /s && echo {text} > /s/f\nFROM base\n\
             RUN --mount=type=cache,target=/c,id=one,from=seed,source=/s cat /c/f > /seen\n"
        );
        site.write(&[("Dockerfile", &dockerfile)]);
        site.build(&["-t", "app"]);
        site.sh("app", "cat /seen")
    };
    let site = Site::new(&[]);
    assert_eq!(["one", "two", "one"].map(|text| build(text, &site)), ["one", "two", "one"]);
}

#[test]
fn scripts_with_an_interpreter_of_their_own() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base\nRUN <<EOF\n#!/bin/sh -e\necho \"$0\" > /name\nfalse\necho not reached\nEOF\n",
    )]);
    let outcome = site.call(&["-t", "app"]).run();
    assert!(outcome.expect_code(1).err().contains("exit code 1"), "{}", outcome.err());
    site.write(&[(
        "Dockerfile",
        "FROM base\nRUN <<EOF\n#!/bin/cat\ntext\nEOF\nRUN <<EOF\n#!/bin/sh -e\necho $0 > /name\nEOF\n",
    )]);
    assert!(site.build(&["-t", "app"]).contains(" #!/bin/cat\n"));
    assert_eq!(
        site.sh("app", "cat /name; ls -A /dev/pipes 2>&1 | grep -q EOF || echo gone"),
        "/dev/pipes/EOF\ngone"
    );
    site.write(&[("Dockerfile", "FROM base\nRUN <<EOF\n#!/bin/cat\nother\nEOF\n")]);
    assert!(site.build(&["-t", "app"]).contains("1 step made"));
}

#[test]
fn an_agent_of_keys_is_there_while_a_command_runs() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base\nRUN --mount=type=ssh [ -S \"$SSH_AUTH_SOCK\" ] && stat -c '%a %u' $SSH_AUTH_SOCK > /seen\n\
         RUN --mount=type=ssh,id=second,target=/a,mode=0666,uid=5,required stat -c '%a %u' /a >> /seen\n",
    )]);
    let path = site.holm.scratch("agent");
    let socket = path.to_str().expect("text");
    let _agent = UnixListener::bind(socket).expect("a socket");
    let second = format!("second={socket}");
    let call = site.call(&["-t", "app", "--ssh", "default", "--ssh", &second]).env("SSH_AUTH_SOCK", socket);
    let outcome = call.run();
    outcome.expect_code(0);
    assert_eq!(
        site.sh("app", "cat /seen; [ -e /run/holm ] || echo gone; [ -e /a ] || echo gone"),
        "600 0\n666 5\ngone\ngone"
    );
    let outcome = site.call(&["--no-cache", "--ssh", "default"]).env("SSH_AUTH_SOCK", socket).run();
    assert!(
        outcome.expect_code(1).err().contains("no agent of SSH keys is given as `second`"),
        "{}",
        outcome.err()
    );
    site.call(&["--ssh", "default=/etc/passwd"]).run().refused(125, &["`/etc/passwd` is no socket"]);
}

/// What is compiled here for another processor needs no command of that.
#[test]
fn images_for_other_platforms() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM base AS make\nARG TARGETARCH\nRUN echo for $TARGETARCH > /out\n\
         FROM arm\nCOPY --from=make /out /made/\nENV A=1\n\
         FROM --platform=linux/s390x scratch AS other\nCOPY --from=make /out /made/\n",
    )]);
    let image = site.holm.call(["import", "--platform", "linux/arm64", "-", "arm"]);
    image.stdin(holm_tests::tarball::base()).run().ok();
    for (platform, stage, made_for, text) in [
        ("linux/arm64", "1", "linux/arm64", "for arm64\n"),
        ("linux/amd64", "other", "linux/s390x", "for amd64\n"),
    ] {
        site.build(&["--platform", platform, "--target", stage, "-t", "app"]);
        let format = "{{.Os}}/{{.Architecture}}";
        assert_eq!(site.holm.ok(["image", "inspect", "app", "-f", format]), made_for);
        let out = site.holm.scratch(stage).to_string_lossy().into_owned();
        site.build(&["--platform", platform, "--target", stage, "-o", &out]);
        assert_eq!(std::fs::read_to_string(format!("{out}/made/out")).expect("a file"), text);
    }
    // The image that is here is for another platform than this stage.
    let outcome = site.call(&["--platform", "linux/riscv64", "--target", "1"]).run();
    let words = "image `arm` is here for linux/arm64, not for linux/riscv64; ";
    assert!(outcome.expect_code(1).err().contains(words), "{}", outcome.err());
}

/// A Dockerfile has no right of the host that its user did not give.
#[test]
fn rights_are_given_by_name() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base\nRUN --security=insecure mkdir /m && mount -t tmpfs none /m && umount /m\n",
    )]);
    let outcome = site.call(&["-t", "app"]).run();
    assert!(outcome.expect_code(1).err().contains("--allow security.insecure"), "{}", outcome.err());
    site.build(&["-t", "app", "--allow", "security.insecure"]);
    site.write(&[("Dockerfile", "FROM base\nRUN --network=host true\n")]);
    let outcome = site.call(&[]).run();
    assert!(outcome.expect_code(1).err().contains("--allow network.host"), "{}", outcome.err());
    site.build(&["--allow", "network.host"]);
    site.call(&["--allow", "everything"])
        .run()
        .refused(125, &["`everything` is none of network.host, security.insecure"]);
}
