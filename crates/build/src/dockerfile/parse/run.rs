//! `RUN`.

use super::{Statement, Takes};
use crate::dockerfile::instruction::{Command, Device, Network, Run, Security};
use crate::dockerfile::mount::{MountFlag, split_fields, switch};
use crate::dockerfile::words::Word;
use crate::error::{Kind, Result};

pub(super) fn run(mut statement: Statement<'_>) -> Result<Command> {
    let flags = statement.flags(&[
        ("mount", Takes::Values),
        ("network", Takes::Value),
        ("security", Takes::Value),
        ("device", Takes::Values),
    ])?;
    Ok(Command::Run(Run {
        line: statement.command_line()?,
        mounts: flags.values("mount").into_iter().map(MountFlag::read).collect::<Result<_>>()?,
        network: flags.value("network").map_or(Ok(Network::Default), network)?,
        security: flags.value("security").map_or(Ok(Security::Sandbox), security)?,
        devices: flags.values("device").into_iter().map(device).collect::<Result<_>>()?,
        heredocs: statement.heredocs,
    }))
}

fn network(word: Word) -> Result<Network> {
    match word.text.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            Err(word.fault(Kind::Value, format!("`--network` is `default`, `none` or `host`, not `{other}`")))
        }
    }
}

fn security(word: Word) -> Result<Security> {
    match word.text.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => {
            Err(word.fault(Kind::Value, format!("`--security` is `sandbox` or `insecure`, not `{other}`")))
        }
    }
}

/// `name`, `name=name`, and `required[=true|false]`.
fn device(word: Word) -> Result<Device> {
    let fault = |message: String| word.fault(Kind::Value, message);
    let fields =
        split_fields(&word.text).ok_or_else(|| fault("the double quotes do not match".to_owned()))?;
    let mut device = Device { name: String::new(), required: false };
    for field in fields {
        match field.split_once('=') {
            None if field == "required" => device.required = true,
            Some(("required", value)) => device.required = switch("required", Some(value)).map_err(fault)?,
            Some(("name", name)) if device.name.is_empty() => device.name = name.to_owned(),
            // The names of classes of devices have `=` themselves.
            _ if device.name.is_empty() => device.name = field,
            _ => return Err(fault(format!("`{field}` means nothing behind the name of a device"))),
        }
    }
    Ok(device)
}
