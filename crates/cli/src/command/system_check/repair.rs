//! `holm system check --repair`.
//!
//! Without a loss: caches and what nobody needs go, what came from a registry is fetched again, by its digest, so that a
//! name keeps its meaning. What is left is an image that is damaged for good; it goes if the user says so.

use std::collections::BTreeSet;

use holm_engine::images::{Aside, Finding, Kind, Object, Owner};
use holm_engine::registry::Connections;
use holm_engine::{CheckReport, Engine};
use holm_spec::Reference;

use super::Args;
use crate::command::pull::Pull;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune;
use crate::transfer::Manner;

/// Puts right what was found, and says so.
pub fn run(
    engine: &Engine,
    report: &CheckReport,
    args: &Args,
    context: &Context,
) -> Result<(), CommandError> {
    let mut left = Vec::new();
    for finding in &report.store.findings {
        let healed = engine.images().remove_broken(finding)? || fetch_again(engine, finding, args, context)?;
        match healed {
            true => context.printer.line(format_args!("{}: put right", finding.object))?,
            false => left.push(finding),
        }
    }
    let hopeless = hopeless(report, &left);
    if hopeless.is_empty() {
        return Ok(());
    }
    if !args.force {
        let names: Vec<&str> = hopeless.iter().map(String::as_str).collect();
        let what = format!("This will remove for good what cannot be put right: {}", names.join(", "));
        prune::confirm(context, &what)?;
    }
    for name in hopeless {
        remove(engine, &name, context)?;
    }
    // What was damaged has kept everything from being collected.
    engine.repair_images()?;
    engine.forget_layers();
    Ok(())
}

/// Fetches what a finding is about by the first of its owners' names that a registry knows.
fn fetch_again(
    engine: &Engine,
    finding: &Finding,
    args: &Args,
    context: &Context,
) -> Result<bool, CommandError> {
    for owner in finding.owners.iter().filter(|owner| engine.images().came_from_registry(owner)) {
        // An image that has several broken parts is fetched once.
        if engine.images().is_whole(finding)? {
            return Ok(true);
        }
        let Some(reference) = by_digest(owner) else { continue };
        let aside = match &finding.object {
            Object::Layer(key) => Some(engine.images().set_aside(key)?),
            _ => None,
        };
        let fetched = fetch(engine, &reference, owner, args);
        put_back(engine, aside)?;
        match fetched {
            Err(error) => {
                context.printer.error(&context.command, &error.during(&format!("fetch `{owner}` again")));
            }
            Ok(()) if engine.images().is_whole(finding)? => return Ok(true),
            Ok(()) => {}
        }
    }
    Ok(false)
}

/// Pulls by digest. The name that this gives goes again, unless it was there.
fn fetch(engine: &Engine, reference: &Reference, owner: &Owner, args: &Args) -> Result<(), CommandError> {
    let store = engine.images();
    let was_there = store.digest_of_name(reference)?.is_some();
    let platform = store.resolve(&owner.digest.to_string()).ok().map(|image| image.platform());
    let manner = if args.quiet { Manner::Quiet } else { Manner::Talk };
    Pull { store, connections: &Connections::read()?, platform: platform.as_ref(), manner }.one(reference)?;
    if !was_there {
        store.exclusive()?.remove(&reference.to_string(), false, &engine.image_users()?)?;
    }
    Ok(())
}

fn put_back(engine: &Engine, aside: Option<Aside>) -> Result<(), CommandError> {
    Ok(aside.map_or(Ok(()), |aside| engine.images().put_back(&aside))?)
}

/// The name with the digest that it stands for.
fn by_digest(owner: &Owner) -> Option<Reference> {
    let reference = owner.reference.as_ref()?;
    format!("{}/{}@{}", reference.domain(), reference.path(), owner.digest).parse().ok()
}

/// Names and ids of what is broken for good and no workload uses.
fn hopeless(report: &CheckReport, left: &[&Finding]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for finding in left {
        if let Object::Name(name) = &finding.object {
            names.insert(name.clone());
        }
        if report.workloads_of(finding).is_empty() {
            names.extend(finding.owners.iter().map(name_of));
        }
    }
    names
}

fn name_of(owner: &Owner) -> String {
    owner.reference.as_ref().map_or_else(|| owner.digest.to_string(), Reference::familiar)
}

fn remove(engine: &Engine, name: &str, context: &Context) -> Result<(), CommandError> {
    let exclusive = engine.images().exclusive()?;
    let users = engine.image_users()?;
    match exclusive.remove(name, false, &users) {
        Ok(_) => context.printer.line(format_args!("{name}: removed")),
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        Err(error) => {
            context.printer.error(&context.command, &error.into());
            Ok(())
        }
    }
}
