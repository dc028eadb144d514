//! What builds take from elsewhere than their directory: the web, repositories, archives; and directories above.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use holm_tests::origin::{Origin, Request, answer, head};
use holm_tests::{OciImage, eventually, tarball};
use rustix::process::Signal;

use super::Site;

/// A server with these files, by their paths; a second request for one it has with the same tag is answered with 304.
struct Web {
    origin: Origin,
    files: Arc<Mutex<Vec<(String, String)>>>,
}

const DATE: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";

impl Web {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let files = Arc::new(Mutex::new(files.collect::<Vec<_>>()));
        let shared = files.clone();
        let origin = Origin::serve(move |request, _, stream| {
            let path = request.path.split('?').next().unwrap_or_default();
            let found = shared.lock().expect("no panic").iter().find(|(known, _)| known == path).cloned();
            let Some((_, text)) = found else { return answer(stream, "404 Not Found", &[], b"") };
            if path.ends_with("cut") {
                head(stream, "200 OK", &[], Some(text.len() + 1))?;
                return std::io::Write::write_all(stream, text.as_bytes());
            }
            let tag = format!("ETag: \"{}\"", text.len());
            match request.header("if-none-match") {
                Some(known) if tag.ends_with(known) => answer(stream, "304 Not Modified", &[], b""),
                _ => {
                    let name = "Content-Disposition: attachment; filename=\"named\"";
                    answer(stream, "200 OK", &[&tag, DATE, name], text.as_bytes())
                }
            }
        });
        Self { origin, files }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.origin.address)
    }

    fn change(&self, path: &str, text: &str) {
        let mut files = self.files.lock().expect("no panic");
        files.retain(|(known, _)| known != path);
        files.push((path.to_owned(), text.to_owned()));
    }

    /// Requests so far.
    fn asked(&self) -> Vec<Request> {
        self.origin.heard()
    }
}

#[test]
fn directories_above_come_along() {
    let dockerfile = "FROM base AS made\nRUN mkdir -p /x/y/z; chown app /x/y; chmod 751 /x/y; echo z >/x/y/z/f; ln -s z/f /x/y/l\n\
        FROM base\nCOPY --parents a/one.txt ./a/./b/*.txt /p/\nCOPY --parents **/*.log /logs/\n\
        COPY --parents --from=made /x/./y/z/f /x/./y/l /q\n";
    let site = Site::new(&[
        ("Dockerfile", dockerfile),
        ("a/one.txt", "1"),
        ("a/b/two.txt", "2"),
        ("a/b/three.md", "3"),
        ("a/b/deep/four.log", "4"),
        ("five.log", "5"),
    ]);
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "find /p /logs /q | sort; stat -c '%A %U' /q/y; cat /q/y/l"),
        "/logs\n/logs/a\n/logs/a/b\n/logs/a/b/deep\n/logs/a/b/deep/four.log\n/logs/five.log\n\
        /p\n/p/a\n/p/a/one.txt\n/p/b\n/p/b/two.txt\n/q\n/q/y\n/q/y/l\n/q/y/z\n/q/y/z/f\n\
        drwxr-x--x app\nz"
    );
    assert!(site.build(&[]).contains("0 steps made, 4 cached"));
    site.refuses("FROM base\nCOPY --parents a/./none /p/\n", "`none` is not there");
}

#[test]
fn files_of_the_web_are_fetched_when_they_changed() {
    let web = Web::new(&[("/d/file.txt", "one"), ("/", "rooted")]);
    let (file, root) = (web.url("/d/file.txt?x=/y"), web.url("/"));
    let dockerfile = format!(
        "FROM base\nADD {file} /in/\nADD {file} /as\nADD --chmod=755 --chown=app:extra {root} here.txt /several/\n"
    );
    let site = Site::new(&[("Dockerfile", &dockerfile), ("here.txt", "here")]);
    site.build(&["-t", "app"]);
    let list = "cd /; stat -c '%a %U:%G %Y %n' in/file.txt as several/*; cat in/file.txt as several/named";
    assert_eq!(
        site.sh("app", list),
        format!(
            "600 root:root 784111777 in/file.txt\n600 root:root 784111777 as\n755 app:extra {} several/here.txt\n\
            755 app:extra 784111777 several/named\noneonerooted",
            site.sh("app", "stat -c %Y /several/here.txt")
        )
    );
    let asked = web.asked().len();
    let said = site.build(&[]);
    assert!(said.contains("0 steps made, 3 cached"), "{said}");
    let again = &web.asked()[asked..];
    assert!(again.iter().all(|request| request.header("if-none-match").is_some()), "{again:?}");
    web.change("/d/file.txt", "changed");
    assert!(site.build(&["-t", "app"]).contains("3 steps made, 0 cached"));
    assert_eq!(site.sh("app", "cat /in/file.txt"), "changed");
    let early = site.call(&["-q", "-t", "early"]).env("SOURCE_DATE_EPOCH", "1000").run();
    early.expect_code(0);
    assert_eq!(site.sh("early", "stat -c %Y /as"), "1000");
}

#[test]
fn a_checksum_is_kept_to_and_spares_the_request() {
    let web = Web::new(&[("/file", "one"), ("/cut", "half")]);
    let sum = |text: &str| {
        let text = text.to_owned();
        holm_spec::Digest::of(text.as_bytes()).to_string()
    };
    let dockerfile = |sum: &str| format!("FROM base\nADD --checksum={sum} {} /f\n", web.url("/file"));
    let site = Site::new(&[("Dockerfile", &dockerfile(&sum("one")))]);
    site.build(&["-t", "app"]);
    assert_eq!(web.asked().len(), 1);
    site.build(&["--no-cache"]);
    assert_eq!((site.sh("app", "cat /f"), web.asked().len()), ("one".to_owned(), 1));
    let downloads = || std::fs::read_dir(site.holm.root().join("builds/downloads")).unwrap().count();
    let before = downloads();
    site.refuses(
        &dockerfile(&sum("other")),
        &format!("has the digest {}, and not {}", sum("one"), sum("other")),
    );
    site.refuses(&dockerfile("md5:1"), "`md5:1` is not sha256:");
    site.refuses(&format!("FROM base\nADD {} /\n", web.url("/none")), "it answers 404");
    site.refuses(&format!("FROM base\nADD {} /\n", web.url("/cut")), "/cut`: ");
    assert_eq!(downloads(), before, "what failed left nothing");
}

#[test]
fn a_download_that_is_ended_leaves_nothing() {
    let origin = Origin::serve(|_, _, stream| {
        head(stream, "200 OK", &[], Some(1 << 20))?;
        std::io::Write::write_all(stream, &[b'x'; 1 << 16])?;
        std::thread::sleep(std::time::Duration::from_secs(1000));
        Ok(())
    });
    let site = Site::new(&[("Dockerfile", &format!("FROM base\nADD http://{}/f /\n", origin.address))]);
    for signal in [Signal::INT, Signal::KILL] {
        let asked = origin.heard().len();
        let build = site.call(&[]).spawn();
        eventually("it is asked for", || origin.heard().len() > asked);
        build.signal(signal);
        build.finish();
        let left = std::fs::read_dir(site.holm.root().join("builds/downloads")).unwrap().count();
        assert_eq!(left, 0, "{signal:?}");
    }
}

#[test]
fn archives_of_the_web_are_unpacked_if_that_is_said() {
    let site = Site::new(&[]);
    let archive = site.holm.scratch("a.tar.gz");
    site.holm.host_shell(&format!("mkdir t; echo in >t/f; tar -C t -czf {} f", archive.display())).ok();
    let content = std::fs::read(archive).unwrap();
    let origin = Origin::serve(move |_, _, stream| answer(stream, "200 OK", &[], &content));
    let url = format!("http://{}/a.tar.gz", origin.address);
    site.write(&[(
        "Dockerfile",
        &format!("FROM base\nADD {url} /kept/\nADD --unpack=true {url} /unpacked/\n"),
    )]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /unpacked/f; ls /kept"), "in\na.tar.gz");
}

/// Git's own server for the repositories in a directory; it ends with the test.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn serve(directory: &std::path::Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port();
        let mut command = Command::new("git");
        command.args(["daemon", "--reuseaddr", "--listen=127.0.0.1", "--export-all"]);
        command.arg(format!("--port={port}")).arg(format!("--base-path={}", directory.display()));
        // A group of its own: the daemon has a child that serves.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git");
        eventually("git serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, address: format!("git://127.0.0.1:{port}") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Repositories: `whole`, of which `part` is a part, with a branch `side` and a tag `v1`, and a hook that must not run.
fn repositories(site: &Site) -> Daemon {
    let script = "mkdir git; cd git; export GIT_CONFIG_GLOBAL=$PWD/config HOME=$PWD
        git config --global user.name n; git config --global user.email e; git config --global init.defaultBranch main
        git config --global protocol.file.allow always
        git init -q part; (cd part; echo part >p; git add .; git commit -qm p)
        git init -q whole; cd whole
        echo main >f; mkdir -p d/sub; echo sub >d/sub/g; chmod 755 f; ln -s /etc/passwd out
        printf 'FROM base\\nCOPY . /c/\\n' >Dockerfile; git add .; git commit -qm one; git tag -am v1 v1
        git submodule --quiet add ../part parts; git commit -qm two
        git checkout -qb side; echo side >f; git commit -qam three; git checkout -q main";
    site.holm.host_shell(script).ok();
    Daemon::serve(&site.holm.scratch("git"))
}

fn commit(site: &Site, reference: &str) -> String {
    site.holm
        .host_shell(&format!("git -C git/whole -c safe.directory='*' rev-parse {reference}^{{commit}}"))
        .ok()
}

#[test]
fn files_of_repositories_are_added() {
    let site = Site::new(&[]);
    let daemon = repositories(&site);
    let url = format!("{}/whole", daemon.address);
    let one = commit(&site, "v1");
    let dockerfile = format!(
        "FROM base\nADD {url} /main/\nADD {url}#v1:d /v1\nADD --keep-git-dir=true {url}#side /side\n\
        ADD --checksum={one} {url}?tag=v1&subdir=d/sub /sub\nADD {url}#{one} /exact\n"
    );
    site.write(&[("Dockerfile", &dockerfile)]);
    site.build(&["-t", "app"]);
    assert_eq!(
        site.sh("app", "cd /main; find . | sort; readlink out; stat -c %a f; cat parts/p /side/f; cd ..; find v1 sub | sort; ls exact; ls -a /side | grep git; ls /side/.git/hooks 2>&1; cat /side/.git/HEAD"),
        format!(
            ".\n./.gitmodules\n./Dockerfile\n./d\n./d/sub\n./d/sub/g\n./f\n./out\n./parts\n./parts/p\n/etc/passwd\n755\npart\nside\n\
            sub\nsub/g\nv1\nv1/sub\nv1/sub/g\nDockerfile\nd\nf\nout\n.git\n.gitmodules\nls: /side/.git/hooks: No such file or directory\n{}",
            commit(&site, "side")
        )
    );
    assert!(site.build(&[]).contains("0 steps made, 5 cached"));
    let left = std::fs::read_dir(site.holm.root().join("builds/contexts")).unwrap().count();
    assert_eq!(left, 0);
    site.holm.host_shell("cd git/whole; export HOME=$PWD/..; echo new >n; git add n; git -c user.name=n -c user.email=e commit -qm four").ok();
    assert!(site.build(&["-t", "app"]).contains("5 steps made, 0 cached"));
    assert_eq!(site.sh("app", "cat /main/n"), "new");
    for (source, words) in [
        (format!("{url}#none"), "it has none"),
        (format!("--checksum={one} {url}"), "and not"),
        (format!("{url}#{}", "a".repeat(40)), "git://"),
        (format!("{url}#main:none"), "`/none` is not there"),
        (format!("{}/absent", daemon.address), "absent"),
    ] {
        site.refuses(&format!("FROM base\nADD {source} /x\n"), words);
    }
}

/// An archive of a context: a Dockerfile that copies all of it, two files, one of which is ignored, and a link out of it.
fn archive(site: &Site, name: &str, flags: &str) -> Vec<u8> {
    let path = site.holm.scratch(name);
    site.holm
        .host_shell(&format!(
            "rm -rf t; mkdir -p t/sub; cd t; printf 'FROM base\\nCOPY . /c/\\n' >Dockerfile; cp Dockerfile sub/Other
            echo in >f; echo x >ignored; echo ignored >.dockerignore; ln -s /etc/passwd out; tar {flags} -cf {} .",
            path.display()
        ))
        .ok();
    std::fs::read(path).expect("an archive")
}

/// No build has left files anywhere.
#[track_caller]
fn assert_nothing_left(site: &Site) {
    let left = std::fs::read_dir(site.holm.root().join("builds/contexts")).expect("a directory").count();
    assert_eq!(left, 0, "contexts are left");
}

#[test]
fn contexts_come_as_archives() {
    let site = Site::new(&[("other", "x")]);
    let whole = "cd /c; find . -type f | sort; cat f; readlink out";
    let expected = "./.dockerignore\n./Dockerfile\n./f\n./sub/Other\nin\n/etc/passwd";
    for flags in ["", "-z", "--zstd", "-J"] {
        let content = archive(&site, "context.tar", flags);
        let flags: &[&str] = if flags == "-J" { &["-f", "sub/Other"] } else { &[] };
        let call = site.holm.call([&["build", "-t", "app"], flags, &["-"]].concat());
        call.stdin(content).run().expect_code(0);
        assert_eq!(site.sh("app", whole), expected, "{flags:?}");
    }
    let content = archive(&site, "context.tar", "-z");
    let origin = Origin::serve(move |request, _, stream| match request.path.as_str() {
        "/context.tgz" => answer(stream, "200 OK", &[], &content),
        "/Dockerfile" => answer(stream, "200 OK", &[], b"FROM base\nRUN echo web >/web\n"),
        _ => answer(stream, "404 Not Found", &[], b""),
    });
    let url = |path: &str| format!("http://{}{path}", origin.address);
    site.holm.ok(["build", "-q", "-t", "web", &url("/context.tgz")]);
    assert_eq!(site.sh("web", whole), expected);
    site.holm.ok(["build", "-q", "-t", "text", &url("/Dockerfile")]);
    site.build(&["-t", "mixed", "-f", &url("/Dockerfile")]);
    assert_eq!((site.sh("text", "cat /web"), site.sh("mixed", "cat /web")), ("web".into(), "web".into()));
    let stdin = site.call(&["-q", "-f", "-", "-t", "stdin"]).stdin("FROM base\nCOPY f /\n").run();
    stdin.expect_code(1);
    assert!(stdin.err().contains("`f` is not there"), "{}", stdin.err());
    site.holm.run(["build", &url("/none")]).expect_code(1);
    site.holm.run(["build", "-f", "-", "-"]).expect_code(125);
    assert_nothing_left(&site);
}

/// What came from elsewhere leads to nothing of the host, and a build that fails leaves none of it.
#[test]
fn archives_of_contexts_are_not_believed() {
    let site = Site::new(&[]);
    let shell = |script: &str| site.holm.host_shell(script).ok();
    let secret = site.holm.file("secret", "secret of the host\n");
    shell(&format!("mkdir t; cd t; ln -s {secret} Dockerfile; tar -cf ../link.tar Dockerfile"));
    shell("mkdir u; cd u; echo x >f; tar --transform 's,f,../../../escaped,' -P -cf ../out.tar f");
    shell(
        "mkdir v; cd v; ln -s /tmp d; tar -cf ../deep.tar d; rm d; mkdir d; echo x >d/escaped-of-holm; tar -rf ../deep.tar d/escaped-of-holm",
    );
    shell(
        "head -c 3000 /dev/urandom >r; printf 'FROM base\\nRUN false\\n' >Dockerfile; tar -cf fails.tar Dockerfile; gzip -k r; tar -cf - r | gzip | head -c 2000 >cut.tar.gz",
    );
    for name in ["link.tar", "out.tar", "deep.tar", "fails.tar", "r.gz", "cut.tar.gz"] {
        let content = std::fs::read(site.holm.scratch(name)).unwrap();
        let outcome = site.holm.call(["build", "-"]).stdin(content).run();
        outcome.expect_code(1);
        assert!(!outcome.err().contains("secret of the host"), "{name}: {}", outcome.err());
    }
    assert!(!std::path::Path::new("/tmp/escaped-of-holm").exists());
    assert_nothing_left(&site);
    // What a killed build has left goes with the next command that puts things right.
    let left = site.holm.root().join("builds/contexts/0123456789abcdef");
    std::fs::create_dir_all(left.join("files/deep")).unwrap();
    std::fs::write(left.join("lock"), "").unwrap();
    site.holm.ok(["ps", "-a"]);
    assert_nothing_left(&site);
}

#[test]
fn repositories_are_contexts() {
    let site = Site::new(&[]);
    let daemon = repositories(&site);
    let url = format!("{}/whole", daemon.address);
    site.holm.ok(["build", "-q", "-t", "app", &url]);
    assert_eq!(site.sh("app", "cat /c/f /c/parts/p; ls -a /c | grep git"), "main\npart\n.gitmodules");
    let call = site.holm.call(["build", "-q", "-t", "sub", "-f", "-", &format!("{url}#side:d/sub")]);
    call.stdin("FROM base\nCOPY . /s/\n").run().expect_code(0);
    assert_eq!(site.sh("sub", "ls -a /s"), ".\n..\ng");
    let outcome = site.holm.run(["build", &format!("{url}#main:out")]);
    outcome.expect_code(1);
    assert!(outcome.err().contains("directory `/out` of the repository"), "{}", outcome.err());
    assert_nothing_left(&site);
}

#[test]
fn names_stand_for_directories_images_and_stages() {
    let site = Site::new(&[("f", "context")]);
    site.holm.host_shell("mkdir -p lib/deep; cd lib; echo lib >l; echo x >hidden; echo hidden >.dockerignore; echo d >deep/d").ok();
    let lib = format!("lib={}", site.holm.scratch("lib").display());
    let content = archive(&site, "context.tar", "-z");
    let origin = Origin::serve(move |_, _, stream| answer(stream, "200 OK", &[], &content));
    let web = format!("web=http://{}/x", origin.address);
    let dockerfile = "FROM elsewhere:latest AS made\nRUN echo made >/made\nFROM replaced AS stage\nRUN exit 1\n\
        FROM made\nCOPY --from=lib . /lib/\nCOPY --from=web sub /web/\nCOPY --from=stage /etc/plain /plain\nCOPY f /\n\
        RUN --mount=from=lib,target=/m cat /m/deep/d >/got\nFROM lib AS only\nCOPY f /c/\n";
    site.write(&[("Dockerfile", dockerfile)]);
    let flags = [
        "--build-context",
        &lib,
        "--build-context",
        &web,
        "--build-context",
        "Elsewhere=docker-image://base",
        "--build-context",
        "stage=docker-image://base",
    ];
    let target = |name: &'static str| [&flags[..], &["-t", name]].concat();
    site.build(&[&target("only")[..], &["--target", "only"]].concat());
    let image = site.holm.ok(["image", "ls", "-q", "only"]);
    assert!(!image.is_empty());
    site.write(&[("Dockerfile", &dockerfile.replace("FROM lib AS only\nCOPY f /c/\n", ""))]);
    site.build(&target("app"));
    assert_eq!(
        site.sh("app", "find /lib -type f | sort; cat /got /made /f; ls /web /plain"),
        "/lib/.dockerignore\n/lib/deep/d\n/lib/l\nd\nmade\ncontext/plain\n\n/web:\nOther"
    );
    assert!(site.build(&flags).contains("0 steps made"));
    site.holm.host_shell("echo changed >lib/l").ok();
    assert!(!site.build(&flags).contains("0 steps made"));
    for (context, code, words) in [
        (
            "x=oci-layout:///no/where",
            1,
            "take an image of the layout `/no/where`: open `/no/where/oci-layout`",
        ),
        ("x=target:stage", 125, "--build-context NAME=target:STAGE is not supported yet"),
        ("x=/no/where", 1, "find the context `/no/where`"),
        ("x=docker-image://UPPER", 1, "UPPER"),
    ] {
        let outcome = site.call(&["--build-context", context]).run();
        outcome.expect_code(code);
        assert!(outcome.err().contains(words), "{}", outcome.err());
    }
    assert_nothing_left(&site);
}

#[test]
fn names_stand_for_images_of_layouts() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM laid\nRUN cat /etc/plain >/got\nCOPY --from=laid /etc/plain /copied\n",
    )]);
    let directory = site.holm.scratch("layout");
    let image = OciImage::packed(&[tarball::base()]);
    image.write_layout(&directory, "v1");
    let place = directory.display();
    for (number, source) in
        [place.to_string(), format!("{place}:v1"), format!("{place}@{}", image.digest())].iter().enumerate()
    {
        let name = format!("app{number}");
        site.build(&["--build-context", &format!("laid=oci-layout://{source}"), "-t", &name]);
        assert_eq!(site.sh(&name, "cat /got /copied"), "not a program\nnot a program", "{source}");
    }
    let laid = format!("laid=oci-layout://{place}");
    assert!(site.build(&["--build-context", &laid]).contains("0 steps made, 2 cached"));
    let none = site.call(&["--build-context", &format!("{laid}:v2")]).run();
    none.expect_code(1);
    assert!(none.err().contains("v1"), "it says what there is: {}", none.err());
    // A layer that is another one than it says is not taken.
    let other = site.holm.scratch("other");
    let liar = OciImage::plain(&[tarball::base(), b"more".to_vec()]);
    let digest = liar.document()["layers"][1]["digest"].as_str().expect("a digest").to_owned();
    liar.write_layout(&other, "v1");
    std::fs::write(other.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), b"less").unwrap();
    let refused = site.call(&["--build-context", &format!("laid=oci-layout://{}", other.display())]).run();
    refused.expect_code(1);
    assert!(refused.err().contains("has the digest"), "{}", refused.err());
}

/// A repository decides of no program that runs here, and of no other protocol.
#[test]
fn a_repository_executes_nothing() {
    let site = Site::new(&[]);
    let daemon = repositories(&site);
    let trace = site.holm.scratch("trace");
    for (number, (url, update)) in
        [("ext::sh -c touch%% TRACE", "checkout"), ("file://PART", "checkout"), ("../part", "!touch TRACE")]
            .iter()
            .enumerate()
    {
        let text = |text: &str| {
            let part = site.holm.scratch("git/part");
            text.replace("TRACE", &trace.to_string_lossy()).replace("PART", &part.to_string_lossy())
        };
        let script = format!(
            "cd git; export GIT_CONFIG_GLOBAL=$PWD/config HOME=$PWD; git init -q evil{number}; cd evil{number}
            printf '[submodule \"s\"]\n path = s\n url = {}\n update = {}\n' >.gitmodules
            git update-index --add --cacheinfo 160000,$(git -C ../part rev-parse HEAD),s; git add .gitmodules; git commit -qm evil",
            text(url),
            text(update),
        );
        site.holm.host_shell(&script).ok();
        site.refuses(&format!("FROM base\nADD {}/evil{number} /x/\n", daemon.address), "check out");
        assert!(!trace.exists(), "{url} {update}");
    }
    assert_nothing_left(&site);
    assert!(site.holm.root().join("builds/git").read_dir().unwrap().count() > 0);
    site.holm.ok(["system", "prune", "-f"]);
    let left = site.holm.root().join("builds/git").read_dir().unwrap().flatten();
    assert!(left.into_iter().all(|entry| entry.path().extension().is_some()), "prune takes what was fetched");
}

/// A server of HTTP with a repository, that gives it only to whom `user` and `pass` name.
fn guarded(site: &Site) -> Origin {
    repositories_of_http(site);
    let files = site.holm.scratch("git/bare.git");
    Origin::serve(move |request, _, stream| {
        if request.header("authorization") != Some(USER_PASS) {
            return answer(stream, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""], b"");
        }
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches("/bare.git/");
        match std::fs::read(files.join(path)) {
            Ok(content) => answer(stream, "200 OK", &[], &content),
            Err(_) => answer(stream, "404 Not Found", &[], b""),
        }
    })
}

/// `user` and `pass`, as the header has them (RFC 7617).
const USER_PASS: &str = "Basic dXNlcjpwYXNz";

/// A repository as plain files, for Git's simple protocol.
fn repositories_of_http(site: &Site) {
    let script = "mkdir -p git; cd git; export GIT_CONFIG_GLOBAL=$PWD/config HOME=$PWD
        git config --global user.name n; git config --global user.email e; git config --global init.defaultBranch main
        git init -q plain; cd plain; echo main >f; git add .; git commit -qm one; cd ..
        git clone -q --bare plain bare.git; git -C bare.git update-server-info";
    site.holm.host_shell(script).ok();
}

/// What the caller has in his home goes to servers that he names, and not to those that a Dockerfile does.
#[test]
fn credentials_go_where_they_belong() {
    let site = Site::new(&[]);
    let origin = guarded(&site);
    let home = site.holm.scratch("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join(".netrc"), "machine 127.0.0.1 login user password pass\n").unwrap();
    let home = home.to_str().expect("text");
    let url = format!("http://{}/bare.git", origin.address);
    site.write(&[("Dockerfile", &format!("FROM base\nADD {url} /x/\n"))]);
    let refused = site.call(&[]).env("HOME", home).run();
    refused.expect_code(1);
    let told = origin.heard().iter().filter(|request| request.header("authorization").is_some()).count();
    assert_eq!((origin.heard().is_empty(), told), (false, 0), "{}", refused.err());
    let call = site.holm.call(["build", "-q", "-f", "-", &url]).env("HOME", home);
    call.stdin("FROM base\nCOPY f /\n").run().expect_code(0);
    // With credentials of its own it is fetched, and nothing shows them.
    let secret = format!("http://user:pass@{}/bare.git", origin.address);
    site.write(&[(
        "Dockerfile",
        "FROM base\nARG SECRET\nADD --keep-git-dir=true $SECRET /x/\nADD $SECRET#none /y/\n",
    )]);
    let failed = site.call(&["--build-arg", &format!("SECRET={secret}")]).run();
    failed.expect_code(1);
    assert!(failed.err().contains(&format!("ask `{url}` for `none`")), "{}", failed.err());
    assert!(!failed.err().contains("pass"), "{}", failed.err());
    site.write(&[("Dockerfile", "FROM base\nARG SECRET\nADD --keep-git-dir=true $SECRET /x/\n")]);
    let said = site.build(&["-t", "app", "--build-arg", &format!("SECRET={secret}")]);
    assert!(!said.contains("pass"), "{said}");
    let config = "cat /x/f; grep url /x/.git/config; grep -r pass /x/.git; true";
    assert_eq!(site.sh("app", config), format!("main\n\turl = {url}"));
    // Where a commit is from makes a difference only where it is kept.
    let other = secret.replace("/bare.git", "/./bare.git");
    for (flag, made) in [("", "0 steps made"), ("--keep-git-dir=true ", "1 step made")] {
        for (url, expected) in [(&secret, None), (&other, Some(made))] {
            site.write(&[("Dockerfile", &format!("FROM base\nADD {flag}{url} /x/\n"))]);
            let said = site.build(&[]);
            assert!(expected.is_none_or(|words| said.contains(words)), "{flag}{url}: {said}");
        }
    }
}

#[test]
fn passwords_of_downloads_are_not_shown() {
    let web = Web::new(&[("/f", "one"), ("/cut", "half")]);
    let site = Site::new(&[("Dockerfile", "FROM base\nARG URL\nADD $URL /f\n")]);
    for (path, code) in [("/f", 0), ("/none", 1), ("/cut", 1)] {
        let secret = web.url(path).replace("://", "://user:secret-of-us@");
        let outcome = site.call(&["--build-arg", &format!("URL={secret}")]).run();
        outcome.expect_code(code);
        assert!(!outcome.err().contains("secret-of-us"), "{}", outcome.err());
        assert!(outcome.err().contains(&web.url(path)), "{}", outcome.err());
    }
    assert_eq!(web.asked()[0].header("authorization"), Some("Basic dXNlcjpzZWNyZXQtb2YtdXM="));
    let found = site.holm.host_shell(&format!(
        "grep -rl secret-of-us {} || true",
        site.holm.root().join("builds/downloads").display()
    ));
    assert_eq!(found.ok(), "");
}

/// Git ends with the build that it works for, and what it has left is in nobody's way.
#[test]
fn git_ends_with_the_build() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("git://{}/x", silent.local_addr().expect("bound"));
    let site = Site::new(&[("Dockerfile", &format!("FROM base\nADD {url} /x/\n"))]);
    for signal in [Signal::INT, Signal::KILL] {
        let build = site.call(&[]).spawn();
        let (mut connection, _) = silent.accept().expect("git");
        build.signal(signal);
        build.finish();
        connection.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("set");
        let read = std::io::Read::read_to_end(&mut connection, &mut Vec::new());
        assert!(read.is_ok(), "{signal:?}: git is still there: {read:?}");
    }
}
