//! What each stage is made from, and which stages a target needs: known before anything is built.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Command, Dockerfile, INSTRUCTION_LIMIT, Instruction, Stage, Word};
use crate::error::{Fault, Kind, Result};
use crate::expand::{Budget, expand, word_rules};
use crate::nearest::nearest;
use crate::platform::Platform;
use crate::source::Position;
use crate::variables::Globals;

/// What files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: `FROM scratch`.
    Scratch,
    /// A stage, by its number from 0.
    Stage(usize),
    /// What the caller gave under this name (`--build-context`).
    Context(String),
    /// An image.
    Image(String),
}

/// A stage, with what it needs.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it begins with.
    pub base: Origin,
    /// The name of its base, expanded.
    pub base_name: String,
    /// `FROM --platform`.
    pub platform: Option<Platform>,
    /// What `ONBUILD` of its base stage says, in front of its own instructions. Those of a base image come from there.
    pub triggers: Vec<Instruction>,
    /// A context of its own name stands for the whole of it: it has no instructions.
    pub replaced: bool,
    /// What its instructions take files from, besides the context.
    pub uses: Vec<Use>,
}

/// Files that an instruction takes from somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// From where.
    pub origin: Origin,
    /// Where that is said.
    pub place: Word,
}

/// Every stage, and which are needed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stages of the Dockerfile, in their order.
    pub stages: Vec<Planned>,
    /// The stage that is asked for.
    pub target: usize,
    /// Whether a stage is needed, in the same order.
    pub needed: Vec<bool>,
}

impl Plan {
    /// Plans a Dockerfile. `target` is a name or a number; without one the last stage is meant. Names in `contexts` mean
    /// what the caller gave under them.
    ///
    /// # Errors
    /// A name that cannot be expanded or means nothing, a stage that is needed before it is there.
    pub fn new(
        dockerfile: &Dockerfile,
        globals: &Globals,
        target: Option<&str>,
        contexts: &BTreeSet<String>,
    ) -> Result<Self> {
        let names = Names::of(&dockerfile.stages, contexts);
        let mut triggers = 0;
        let mut stages = Vec::with_capacity(dockerfile.stages.len());
        for (number, stage) in dockerfile.stages.iter().enumerate() {
            let planned = planned(dockerfile, globals, &names, number, stage)?;
            triggers += planned.triggers.len();
            if triggers > INSTRUCTION_LIMIT {
                let message = format!("`ONBUILD` brings more than {INSTRUCTION_LIMIT} instructions");
                return Err(Fault::new(Kind::TooLarge, stage.span.start, message));
            }
            stages.push(planned);
        }
        let target = find_target(&dockerfile.stages, &names, target)?;
        let needed = needed(dockerfile, &stages, target)?;
        Ok(Self { stages, target, needed })
    }

    /// Adds what `ONBUILD` of the base image of stage `number` says, which is known only where the image is. Stages that
    /// this takes files from are needed from now on.
    ///
    /// # Errors
    /// An expression that is no instruction, or takes files from a stage that is not yet there.
    pub fn add_triggers(
        &mut self,
        dockerfile: &Dockerfile,
        contexts: &BTreeSet<String>,
        number: usize,
        expressions: &[String],
    ) -> Result<()> {
        let (Some(stage), Some(planned)) = (dockerfile.stages.get(number), self.stages.get_mut(number))
        else {
            return Ok(());
        };
        let names = Names::of(&dockerfile.stages, contexts);
        for expression in expressions {
            let instruction = trigger(expression, stage, stage.span.start)?;
            add_uses(&instruction.command, &names, dockerfile.directives.escape, &mut planned.uses)?;
            planned.triggers.push(instruction);
        }
        self.needed = needed(dockerfile, &self.stages, self.target)?;
        Ok(())
    }

    /// Checks also of stages that nobody needs that they take files only from stages above.
    ///
    /// # Errors
    /// One does not.
    pub fn check_order(&self, dockerfile: &Dockerfile) -> Result<()> {
        for (number, stage) in self.stages.iter().enumerate() {
            for used in &stage.uses {
                if let Origin::Stage(earlier) = used.origin {
                    check_order(dockerfile, number, earlier, &used.place)?;
                }
            }
        }
        Ok(())
    }
}

/// What a name of a context is looked for as: that of an image in its short form, without `latest`, which it means anyway.
pub fn context_name(text: &str) -> String {
    match text.parse::<holm_spec::Reference>() {
        Ok(reference) => {
            let name = reference.familiar();
            name.strip_suffix(":latest").map_or(name.clone(), str::to_owned)
        }
        Err(_) => text.to_lowercase(),
    }
}

/// An image by its name, which must be one.
fn image(place: &Word, name: &str) -> Result<Origin> {
    match name.parse::<holm_spec::Reference>() {
        Ok(_) => Ok(Origin::Image(name.to_owned())),
        Err(error) => Err(place.fault(Kind::Value, error.to_string())),
    }
}

/// Names of stages and contexts. Of several stages with one name the last that stands in front is meant.
struct Names<'a> {
    stages: BTreeMap<&'a str, Vec<usize>>,
    contexts: &'a BTreeSet<String>,
    count: usize,
}

impl<'a> Names<'a> {
    fn of(stages: &'a [Stage], contexts: &'a BTreeSet<String>) -> Self {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for (number, stage) in stages.iter().enumerate() {
            if let Some(name) = &stage.name {
                names.entry(name.name.as_str()).or_default().push(number);
            }
        }
        Self { stages: names, contexts, count: stages.len() }
    }

    /// What the caller gave under that name.
    fn context(&self, name: &str) -> Option<Origin> {
        Some(context_name(name)).filter(|name| self.contexts.contains(name)).map(Origin::Context)
    }

    /// The last stage of that name.
    fn stage(&self, name: &str) -> Option<usize> {
        self.stages.get(name).and_then(|numbers| numbers.last()).copied()
    }

    /// What `FROM name` means in stage `number`: only what stands in front of it.
    fn base(&self, place: &Word, name: &str, number: usize) -> Result<Origin> {
        if let Some(context) = self.context(name) {
            return Ok(context);
        }
        let numbers = self.stages.get(name).map(Vec::as_slice).unwrap_or_default();
        let before = numbers.partition_point(|earlier| *earlier < number);
        Ok(match before.checked_sub(1).and_then(|index| numbers.get(index)) {
            Some(stage) => Origin::Stage(*stage),
            None if name == "scratch" => Origin::Scratch,
            None => image(place, name)?,
        })
    }

    /// What `from=name` means: any stage, also by number if `numbers`.
    fn from(&self, place: &Word, numbers: bool) -> Result<Origin> {
        let name = place.text.as_str();
        if let Some(number) = name.parse::<usize>().ok().filter(|_| numbers) {
            if number >= self.count {
                let message = format!("there is no stage {number}: the last one is {}", self.count - 1);
                return Err(place.fault(Kind::Stage, message));
            }
            return Ok(Origin::Stage(number));
        }
        if let Some(context) = self.context(name) {
            return Ok(context);
        }
        Ok(match self.stage(&name.to_lowercase()) {
            Some(stage) => Origin::Stage(stage),
            None if name == "scratch" => Origin::Scratch,
            None => image(place, name)?,
        })
    }
}

fn planned(
    dockerfile: &Dockerfile,
    globals: &Globals,
    names: &Names<'_>,
    number: usize,
    stage: &Stage,
) -> Result<Planned> {
    let base_name = globals.expand(&stage.base)?.text;
    if base_name.is_empty() {
        return Err(stage.base.fault(Kind::Variable, format!("`{}` is empty", stage.base.text)));
    }
    // A context of the stage's own name stands for the whole of it.
    let of_own_name = stage.name.as_ref().and_then(|name| names.context(&name.name));
    let replaced = of_own_name.is_some();
    let base = match of_own_name {
        Some(context) => context,
        None => names.base(&stage.base, &base_name, number)?,
    };
    let platform = stage.platform.as_ref().map(|word| platform(globals, word)).transpose()?;
    let (triggers, uses) = (Vec::new(), Vec::new());
    let mut planned = Planned { base, base_name, platform, triggers, replaced, uses };
    if !replaced {
        if let Origin::Stage(base) = planned.base {
            planned.triggers = triggers_of(dockerfile, base, stage)?;
        }
        for instruction in planned.triggers.iter().chain(&stage.instructions) {
            add_uses(&instruction.command, names, dockerfile.directives.escape, &mut planned.uses)?;
        }
    }
    Ok(planned)
}

fn platform(globals: &Globals, word: &Word) -> Result<Platform> {
    let expansion = globals.expand(word)?;
    let near = expansion.unset.iter().find_map(|name| nearest(name, globals.names()));
    if expansion.text.is_empty() {
        let fault = word.fault(Kind::Variable, format!("the platform `{}` is empty", word.text));
        return Err(fault.meant(near.map(|near| format!("${near}"))));
    }
    Platform::parse(&expansion.text)
        .map_err(|reason| word.fault(Kind::Value, reason).meant(near.map(|near| format!("${near}"))))
}

/// What the `ONBUILD` of stage `base` says, placed at the `FROM` of the stage that is made from it.
fn triggers_of(dockerfile: &Dockerfile, base: usize, stage: &Stage) -> Result<Vec<Instruction>> {
    let base = dockerfile.stages.get(base).map(|stage| stage.instructions.as_slice()).unwrap_or_default();
    let mut triggers = Vec::new();
    for instruction in base {
        let Command::Onbuild(trigger) = &instruction.command else { continue };
        triggers.push(self::trigger(&trigger.expression, stage, instruction.span.start)?);
    }
    Ok(triggers)
}

/// An instruction that `ONBUILD` keeps, placed at the `FROM` of the stage that is made from it; `position` is where it is said.
fn trigger(expression: &str, stage: &Stage, position: Position) -> Result<Instruction> {
    let read = Dockerfile::trigger(expression).map_err(|error| {
        let message = format!("in an `ONBUILD` of `{}`: {}", stage.base.text, error.message());
        Fault::new(error.kind(), position, message)
    })?;
    Ok(Instruction { span: stage.span, ..read })
}

fn add_uses(command: &Command, names: &Names<'_>, escape: char, uses: &mut Vec<Use>) -> Result<()> {
    match command {
        Command::Copy(copy) => {
            let Some(from) = &copy.from else { return Ok(()) };
            check_plain(from, escape)?;
            uses.push(Use { origin: names.from(from, true)?, place: from.clone() });
        }
        Command::Run(run) => {
            for mount in &run.mounts {
                let Some(from) = &mount.from else { continue };
                let place = Word { text: from.clone(), position: mount.text.position };
                uses.push(Use { origin: names.from(&place, false)?, place });
            }
        }
        _ => {}
    }
    Ok(())
}

/// Which stages are needed must not depend on variables that stages set.
fn check_plain(from: &Word, escape: char) -> Result<()> {
    let budget = Budget::new(Budget::FULL);
    let plain = expand(&from.text, word_rules(escape), &|_| None, &budget);
    if plain.is_ok_and(|plain| plain.text == from.text) {
        return Ok(());
    }
    let fault = from.fault(Kind::Variable, "`--from` cannot have variables");
    Err(fault.hint("give a stage that name: `FROM $IMAGE AS name`, and write `--from=name`"))
}

fn find_target(stages: &[Stage], names: &Names<'_>, target: Option<&str>) -> Result<usize> {
    let Some(target) = target.filter(|target| !target.is_empty()) else {
        return Ok(stages.len().saturating_sub(1));
    };
    let by_number = || target.parse::<usize>().ok().filter(|number| *number < stages.len());
    names.stage(&target.to_lowercase()).or_else(by_number).ok_or_else(|| {
        let start = stages.last().map(|stage| stage.span.start).unwrap_or_default();
        let fault = Fault::new(Kind::Stage, start, format!("there is no stage `{target}`"));
        fault.meant(nearest(target, names.stages.keys().copied()))
    })
}

/// Follows what stages need from the target on.
fn needed(dockerfile: &Dockerfile, stages: &[Planned], target: usize) -> Result<Vec<bool>> {
    let mut needed = vec![false; stages.len()];
    let mut open = vec![target];
    while let Some(number) = open.pop() {
        let Some(planned) = stages.get(number) else { continue };
        match needed.get_mut(number) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        if let Origin::Stage(base) = planned.base {
            open.push(base);
        }
        for used in &planned.uses {
            if let Origin::Stage(earlier) = used.origin {
                check_order(dockerfile, number, earlier, &used.place)?;
                open.push(earlier);
            }
        }
    }
    Ok(needed)
}

/// A stage takes files only from stages in front of it, so that none waits for itself.
fn check_order(dockerfile: &Dockerfile, number: usize, used: usize, place: &Word) -> Result<()> {
    if used < number {
        return Ok(());
    }
    if used == number {
        return Err(place.fault(Kind::Stage, "a stage cannot take files from itself"));
    }
    let line = dockerfile.stages.get(used).map_or(0, |stage| stage.span.start.line);
    let message = format!("the stage `{}` begins only on line {line}", place.text);
    Err(place.fault(Kind::Stage, message).hint("a stage takes files from stages that stand above it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Given;

    fn plan(text: &str, target: Option<&str>, contexts: &[&str]) -> std::result::Result<Plan, String> {
        let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
        let (build, target_platform) = (Platform::host(), Platform::host());
        let given = Given { arguments: BTreeMap::new(), build, target: target_platform, stage: None };
        let globals = Globals::new(&dockerfile, &given).expect("globals");
        let contexts = contexts.iter().map(|name| name.to_string()).collect();
        Plan::new(&dockerfile, &globals, target, &contexts)
            .map_err(|fault| format!("{}: {fault}", fault.position().line))
    }

    fn numbers(plan: &Plan) -> Vec<usize> {
        plan.needed.iter().enumerate().filter(|(_, needed)| **needed).map(|(number, _)| number).collect()
    }

    const STAGES: &str = "FROM scratch AS a\nFROM alpine AS b\nCOPY --from=a / /\nFROM a AS c\nRUN --mount=from=b,target=/x y\nFROM b\nCOPY --from=0 / /\n";

    #[test]
    fn only_what_the_target_needs_is_needed() {
        for (target, expected) in [
            (None, vec![0, 1, 3]),
            (Some("a"), vec![0]),
            (Some("B"), vec![0, 1]),
            (Some("c"), vec![0, 1, 2]),
            (Some("2"), vec![0, 1, 2]),
        ] {
            assert_eq!(numbers(&plan(STAGES, target, &[]).expect("a plan")), expected, "{target:?}");
        }
    }

    #[test]
    fn names_mean_stages_in_front_or_images() {
        let plan = plan(
            "FROM b AS a\nFROM a AS b\nFROM b AS a\nFROM a AS scratch\nFROM scratch\nCOPY --from=nginx / /",
            None,
            &[],
        );
        let bases: Vec<_> = plan.expect("a plan").stages.into_iter().map(|stage| stage.base).collect();
        let expected = [
            Origin::Image("b".to_owned()),
            Origin::Stage(0),
            Origin::Stage(1),
            Origin::Stage(2),
            Origin::Stage(3),
        ];
        assert_eq!(bases, expected);
    }

    #[test]
    fn contexts_stand_for_stages() {
        let plan = plan(STAGES, None, &["b"]).expect("a plan");
        assert_eq!((&plan.stages[1].base, numbers(&plan)), (&Origin::Context("b".to_owned()), vec![0, 3]));
        assert_eq!(plan.stages[3].base, Origin::Context("b".to_owned()));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine"] {
            assert_eq!(context_name(name), "alpine");
        }
    }

    #[test]
    fn triggers_come_from_the_base_stage_once() {
        let text = "FROM x AS a\nONBUILD COPY --from=y / /\nFROM a AS b\nRUN z\nFROM b\n";
        let plan = plan(text, None, &[]).expect("a plan");
        let counts: Vec<_> =
            plan.stages.iter().map(|stage| (stage.triggers.len(), stage.uses.len())).collect();
        assert_eq!(counts, [(0, 0), (1, 1), (0, 0)]);
    }

    #[test]
    fn triggers_of_images_are_added_when_they_are_known() {
        let text = "FROM a AS a\nFROM b\n";
        let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
        let mut plan = plan(text, None, &[]).expect("a plan");
        assert_eq!(numbers(&plan), [1]);
        let (none, add) = (BTreeSet::new(), |text: &str| [text.to_owned()]);
        plan.add_triggers(&dockerfile, &none, 1, &add("COPY --from=a / /")).expect("a trigger");
        assert_eq!((numbers(&plan), plan.stages[1].triggers.len()), (vec![0, 1], 1));
        let fault = plan.add_triggers(&dockerfile, &none, 1, &add("CPOY a b")).expect_err("no instruction");
        assert_eq!(fault.to_string(), "in an `ONBUILD` of `b`: unknown instruction `CPOY`");
    }

    #[test]
    fn wrong_stages_are_told_with_their_line() {
        for (text, target, message) in [
            (
                "FROM a AS a\nCOPY --from=b / /\nFROM a AS b\nCOPY --from=a / /\n",
                None,
                "2: the stage `b` begins only on line 3",
            ),
            ("FROM a AS a\nCOPY --from=a / /\n", None, "2: a stage cannot take files from itself"),
            (
                "FROM a\nRUN --mount=from=b x\nFROM x AS b\nFROM scratch\nCOPY --from=0 / /",
                None,
                "2: the stage `b` begins only on line 3",
            ),
            ("FROM a\nCOPY --from=7 / /\n", None, "2: there is no stage 7: the last one is 0"),
            ("FROM a\nCOPY --from=$x / /\n", None, "2: `--from` cannot have variables"),
            ("FROM a AS base\n", Some("bsae"), "1: there is no stage `bsae`"),
            ("FROM $none\n", None, "1: `$none` is empty"),
            ("FROM --platform=$BULIDPLATFORM a\n", None, "1: the platform `$BULIDPLATFORM` is empty"),
            (
                "FROM --platform=pdp11 a\n",
                None,
                "1: `pdp11` is no operating system and no architecture that is known",
            ),
        ] {
            assert_eq!(plan(text, target, &[]).expect_err(text), message);
        }
    }

    #[test]
    fn stages_that_nobody_needs_may_be_wrong() {
        assert!(plan("FROM a\nCOPY --from=b / /\nFROM a AS b\nFROM scratch", None, &[]).is_ok());
    }
}
