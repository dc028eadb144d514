//! `holm-floor`: what the kernel must do for a container, and nothing else. See [`holm_bench::floor`].
//!
//! ```text
//! holm-floor run --image FILE --directory DIR [--memory BYTES] [--report-pid] [--print-calls] [-- COMMAND…]
//! holm-floor exec --pid PID [--print-calls] [-- COMMAND…]
//! holm-floor import TAR OUT [--print-calls]
//! holm-floor read FILE
//! holm-floor hash FILE
//! holm-floor pull ADDRESS REPOSITORY TAG DIRECTORY
//! holm-floor echo ADDRESS
//! holm-floor speak RATE SECONDS
//! holm-floor tell-time TIMES
//! holm-floor keep-log FILE
//! holm-floor oci-run --directory DIR --group NAME [--user-namespace] [--print-calls] [-- COMMAND…]
//! holm-floor oci-create --directory DIR --group NAME --fifo FILE [--user-namespace] [--print-calls] [-- COMMAND…]
//! holm-floor oci-exec --pid PID --group PATH [--print-calls] [-- COMMAND…]
//! holm-floor true
//! holm-floor peak -- COMMAND…
//! ```
//!
//! `speak` writes lines, `tell-time` the clock, `keep-log` what it reads. `echo` sends datagrams back until it is ended. `true` only ends: what the start of a static program takes. `read` reads a file, `hash` hashes it, too: what lies between
//! them is the digest. `peak` runs a command and prints the most memory, in
//! KiB, that it or one of its children had in use; it is here because a child begins with what its parent has.
//!
//! It ends with the command's status, or with 125 when it could not start one. Arguments are parsed by hand:
//! a parser's start would be part of what is measured.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use holm_bench::floor::calls::Calls;
use holm_bench::floor::oci::{self, LEFT_OUT_OF_OCI, LEFT_OUT_OF_OCI_EXEC};
use holm_bench::floor::{
    LEFT_OUT_OF_EXEC, LEFT_OUT_OF_IMPORT, LEFT_OUT_OF_RUN, echo, exec, import, log, pull, run, sys,
};
use rustix::process::Pid;

const USAGE: &str = "usage: holm-floor run --image FILE --directory DIR [--memory BYTES] [--report-pid] \
[--print-calls] [-- COMMAND...]\n       holm-floor exec --pid PID [--print-calls] [-- COMMAND...]\n       \
holm-floor import TAR OUT [--print-calls]\n       holm-floor read FILE\n       holm-floor hash FILE\n       holm-floor pull ADDRESS REPOSITORY TAG \
DIRECTORY\n       holm-floor oci-run --directory DIR --group NAME [--user-namespace] \
[--print-calls] [-- COMMAND...]\n       holm-floor oci-create --directory DIR --group NAME --fifo FILE \
[--user-namespace] [--print-calls] [-- COMMAND...]\n       holm-floor oci-exec --pid PID --group PATH [--print-calls] \
[-- COMMAND...]\n       holm-floor echo ADDRESS\n       holm-floor speak RATE SECONDS\n       holm-floor \
tell-time TIMES\n       holm-floor keep-log FILE\n       holm-floor true\n       holm-floor peak -- COMMAND...";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "true") {
        return ExitCode::SUCCESS;
    }
    // The guards must release what has a name; see `run::wait`.
    let caught = sys::catch_interrupts();
    let result = caught
        .map_err(Into::into)
        .and_then(|()| Arguments::parse(std::env::args_os().skip(1)))
        .and_then(|arguments| arguments.carry_out());
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            drop(writeln!(io::stderr(), "holm-floor: {error}"));
            ExitCode::from(run::COULD_NOT_START as u8)
        }
    }
}

/// The command line, in one flat set: each verb asks for what it needs.
#[derive(Default)]
struct Arguments {
    plain: Vec<OsString>,
    image: Option<PathBuf>,
    directory: Option<PathBuf>,
    memory: Option<u64>,
    pid: Option<Pid>,
    group: Option<OsString>,
    fifo: Option<PathBuf>,
    user_namespace: bool,
    report_pid: bool,
    print_calls: bool,
    command: Vec<CString>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut parsed = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(USAGE);
            match word.to_str() {
                Some("--image") => parsed.image = Some(value()?.into()),
                Some("--directory") => parsed.directory = Some(value()?.into()),
                Some("--memory") => parsed.memory = Some(number(&value()?)?),
                Some("--pid") => parsed.pid = Some(Pid::from_raw(number(&value()?)?).ok_or(USAGE)?),
                Some("--group") => parsed.group = Some(value()?),
                Some("--fifo") => parsed.fifo = Some(value()?.into()),
                Some("--user-namespace") => parsed.user_namespace = true,
                Some("--report-pid") => parsed.report_pid = true,
                Some("--print-calls") => parsed.print_calls = true,
                Some("--") => break,
                Some(option) if option.starts_with('-') => return Err(USAGE.into()),
                _ => parsed.plain.push(word),
            }
        }
        parsed.command =
            words.map(|word| CString::new(word.into_vec())).collect::<std::result::Result<_, _>>()?;
        if parsed.command.is_empty() {
            parsed.command.push(c"/bin/true".to_owned());
        }
        Ok(parsed)
    }

    fn carry_out(self) -> Result<i32> {
        let calls = if self.print_calls { Calls::recorded()? } else { Calls::unrecorded() };
        let verb = self.plain.first().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
        match verb.as_str() {
            "run" => self.run(calls),
            "exec" => self.exec(calls),
            "import" => self.import(),
            "read" => self.read(false),
            "hash" => self.read(true),
            "pull" => self.pull(),
            "echo" => self.echo(),
            "speak" | "tell-time" | "keep-log" => self.log(&verb),
            "oci-run" => self.oci_run(calls),
            "oci-create" => self.oci_create(calls),
            "oci-exec" => self.oci_exec(calls),
            "peak" => self.peak(),
            _ => Err(USAGE.into()),
        }
    }

    fn run(self, calls: Calls) -> Result<i32> {
        let request = run::Request {
            image: self.image.ok_or(USAGE)?,
            directory: self.directory.ok_or(USAGE)?,
            memory: self.memory,
            command: self.command,
            report_pid: self.report_pid,
        };
        let status = run::run(&request, calls)?;
        print_calls(&calls.lines(), LEFT_OUT_OF_RUN)?;
        Ok(status)
    }

    fn exec(self, calls: Calls) -> Result<i32> {
        let request = exec::Request { pid: self.pid.ok_or(USAGE)?, command: self.command };
        let status = exec::exec(&request, calls)?;
        print_calls(&calls.lines(), LEFT_OUT_OF_EXEC)?;
        Ok(status)
    }

    fn echo(self) -> Result<i32> {
        let [_, address] = self.plain.as_slice() else { return Err(USAGE.into()) };
        echo::serve(address.to_str().ok_or(USAGE)?)?;
        Ok(0)
    }

    fn log(self, verb: &str) -> Result<i32> {
        let words: Vec<_> = self.plain.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).collect();
        match (verb, words.as_slice()) {
            ("speak", [rate, seconds]) => log::speak(rate.parse()?, seconds.parse()?)?,
            ("tell-time", [times]) => log::tell_time(times.parse()?)?,
            ("keep-log", [path]) => log::keep(path)?,
            _ => return Err(USAGE.into()),
        }
        Ok(0)
    }

    fn import(self) -> Result<i32> {
        let [_, source, destination] = self.plain.as_slice() else { return Err(USAGE.into()) };
        let digest = import::import(source.as_ref(), destination.as_ref())
            .map_err(|error| format!("import of `{}`: {error}", source.display()))?;
        writeln!(io::stdout(), "{digest}")?;
        if self.print_calls {
            let calls = [
                "parent openat  TAR",
                "parent openat  OUT",
                "parent read, write  x blocks of 1 MiB",
                "parent fdatasync  OUT",
            ];
            print_calls(&calls.map(str::to_owned), LEFT_OUT_OF_IMPORT)?;
        }
        Ok(0)
    }
}

impl Arguments {
    fn read(self, hashed: bool) -> Result<i32> {
        let [_, file] = self.plain.as_slice() else { return Err(USAGE.into()) };
        let digest =
            import::read(file.as_ref(), hashed).map_err(|error| format!("`{}`: {error}", file.display()))?;
        writeln!(io::stdout(), "{digest}")?;
        Ok(0)
    }

    fn pull(self) -> Result<i32> {
        let [_, address, repository, tag, directory] = &self.plain[..] else { return Err(USAGE.into()) };
        let texts = [address, repository, tag].map(|word| word.to_str().ok_or(USAGE));
        let [address, repository, tag] = texts;
        pull::pull(address?, repository?, tag?, directory.as_ref())?;
        Ok(0)
    }
}

/// The floors of OCI runtimes.
impl Arguments {
    fn oci_request(&mut self) -> Result<oci::Request> {
        let group = self.group.take().and_then(|group| group.into_string().ok());
        Ok(oci::Request {
            root: self.directory.take().ok_or(USAGE)?,
            group: group.ok_or(USAGE)?,
            command: std::mem::take(&mut self.command),
            user_namespace: self.user_namespace,
        })
    }

    fn oci_run(mut self, calls: Calls) -> Result<i32> {
        let status = oci::run(&self.oci_request()?, calls)?;
        print_calls(&calls.lines(), LEFT_OUT_OF_OCI)?;
        Ok(status)
    }

    fn oci_create(mut self, calls: Calls) -> Result<i32> {
        let request = self.oci_request()?;
        oci::create(&request, &self.fifo.ok_or(USAGE)?, calls)?;
        print_calls(&calls.lines(), LEFT_OUT_OF_OCI)?;
        Ok(0)
    }

    fn oci_exec(self, calls: Calls) -> Result<i32> {
        let (pid, group) = (self.pid.ok_or(USAGE)?, self.group.ok_or(USAGE)?.into());
        let status = oci::exec::exec(&oci::exec::Request { pid, group, command: self.command }, calls)?;
        print_calls(&calls.lines(), LEFT_OUT_OF_OCI_EXEC)?;
        Ok(status)
    }

    fn peak(self) -> Result<i32> {
        let mut words = self.command.into_iter().map(|word| OsString::from_vec(word.into_bytes()));
        let mut command = Command::new(words.next().ok_or(USAGE)?);
        let status = command.args(words).status()?;
        writeln!(io::stdout(), "{}", sys::peak_of_children())?;
        Ok(status.code().unwrap_or(run::COULD_NOT_START))
    }
}

fn number<T: std::str::FromStr>(text: &OsString) -> Result<T> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("`{}` is not a number", text.display()).into())
}

fn print_calls(lines: &[String], left_out: &[&str]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "Calls, in order (after the start of the program, before its end):")?;
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    writeln!(out, "Left out:")?;
    left_out.iter().try_for_each(|line| writeln!(out, "  {line}"))
}
