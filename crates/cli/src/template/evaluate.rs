//! Nodes and a value to text.

use std::borrow::Cow;

use serde_json::Value;

use super::parser::{Base, Call, Node, Pipeline, Term};
use super::{Fault, functions, functions::is_true, shapes};

/// Longest result in bytes: nested ranges multiply.
const OUTPUT_LIMIT: usize = 64 << 20;

/// Steps of one rendering: nodes and calls, and copies of values by their size. Nested ranges multiply.
const STEP_LIMIT: usize = 1 << 20;
/// Bytes of copied values that are a step.
const BYTES_PER_STEP: usize = 256;
/// Bytes of the arguments of one call, and of what it gives: `{{$x = print $x $x}}` doubles.
const VALUE_LIMIT: usize = 4 << 20;

/// The text that `nodes` make of `value`.
pub fn render(nodes: &[Node], value: &Value) -> Result<String, Fault> {
    let mut evaluation = Evaluation { whole: value, variables: Vec::new(), output: String::new(), steps: 0 };
    evaluation.nodes(nodes, value)?;
    Ok(evaluation.output)
}

struct Evaluation<'a> {
    /// What `$` names.
    whole: &'a Value,
    variables: Vec<(String, Value)>,
    output: String,
    steps: usize,
}

impl<'a> Evaluation<'a> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Fault> {
        let declared = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(declared);
        Ok(())
    }

    fn step(&mut self, at: usize, bytes: usize) -> Result<(), Fault> {
        self.steps += 1 + bytes / BYTES_PER_STEP;
        match self.steps > STEP_LIMIT {
            true => Err(Fault::new(at, "the template takes too many steps")),
            false => Ok(()),
        }
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), Fault> {
        self.step(0, 0)?;
        match node {
            Node::Text(text) => self.print(0, text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if !pipeline.variables.is_empty() {
                    return self.assign(pipeline, value);
                }
                match value {
                    Value::Null => self.print(pipeline.at, absent(pipeline)),
                    value => self.print(pipeline.at, &functions::text(&value)),
                }
            }
            Node::If { arms, otherwise } => self.conditional(arms, otherwise, dot),
            Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot),
            Node::With { value, body, otherwise } => self.with(value, body, otherwise, dot),
        }
    }

    fn print(&mut self, at: usize, text: &str) -> Result<(), Fault> {
        if self.output.len() + text.len() > OUTPUT_LIMIT {
            return Err(Fault::new(at, "the result is longer than 64 MiB"));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn assign(&mut self, pipeline: &Pipeline, value: Value) -> Result<(), Fault> {
        let [name] = pipeline.variables.as_slice() else {
            return Err(Fault::new(pipeline.at, "two variables are for `range`"));
        };
        if !pipeline.assigns {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        let Some((_, old)) = known else { return Err(undefined(pipeline.at, name)) };
        *old = value;
        Ok(())
    }

    fn conditional(
        &mut self,
        arms: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), Fault> {
        let declared = self.variables.len();
        for (condition, body) in arms {
            let value = self.pipeline(condition, dot)?;
            let holds = is_true(&value);
            if !condition.variables.is_empty() {
                self.assign(condition, value)?;
            }
            if holds {
                self.nodes(body, dot)?;
                self.variables.truncate(declared);
                return Ok(());
            }
        }
        self.nodes(otherwise, dot)?;
        self.variables.truncate(declared);
        Ok(())
    }

    fn with(
        &mut self,
        value: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), Fault> {
        let declared = self.variables.len();
        let inner = self.pipeline(value, dot)?;
        if !value.variables.is_empty() {
            self.assign(value, inner.clone())?;
        }
        match is_true(&inner) {
            true => self.nodes(body, &inner)?,
            false => self.nodes(otherwise, dot)?,
        }
        self.variables.truncate(declared);
        Ok(())
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), Fault> {
        let value = self.pipeline(over, dot)?;
        let elements = elements(value).ok_or_else(|| Fault::new(over.at, "`range` needs a list or a map"))?;
        if elements.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, element) in elements {
            let declared = self.variables.len();
            match over.variables.as_slice() {
                [one] => self.variables.push((one.clone(), element.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), element.clone()));
                }
                [] => {}
            }
            self.nodes(body, &element)?;
            self.variables.truncate(declared);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut last = None;
        for call in &pipeline.calls {
            last = Some(self.call(call, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn call(&mut self, call: &Call, piped: Option<Value>, dot: &Value) -> Result<Value, Fault> {
        let mut arguments = Vec::with_capacity(call.arguments.len() + 1);
        let mut size = piped.as_ref().map_or(0, functions::size);
        for argument in &call.arguments {
            let argument = self.term(argument, dot)?.into_owned();
            size += functions::size(&argument);
            arguments.push(argument);
            check_size(call.at, size)?;
        }
        arguments.extend(piped);
        self.step(call.at, size)?;
        if let (Base::Function(name), true) = (&call.head.base, call.head.path.is_empty()) {
            let value = functions::call(name, arguments).map_err(|reason| Fault::new(call.at, reason))?;
            check_size(call.at, functions::size(&value))?;
            return Ok(value);
        }
        let value = self.term(&call.head, dot)?;
        let result = match arguments.as_slice() {
            [] => Some(value.into_owned()),
            arguments => method(&value, arguments),
        };
        let result = result
            .ok_or_else(|| Fault::new(call.at, "a value takes no arguments; only `.Label \"name\"` does"))?;
        self.step(call.at, functions::size(&result))?;
        Ok(result)
    }

    fn term<'b>(&'b mut self, term: &'b Term, dot: &'b Value) -> Result<Cow<'b, Value>, Fault> {
        let base: Cow<'b, Value> = match &term.base {
            Base::Dot => Cow::Borrowed(dot),
            Base::Literal(value) => Cow::Borrowed(value),
            Base::Variable(name) if name.is_empty() => Cow::Borrowed(self.whole),
            Base::Variable(name) => Cow::Borrowed(
                self.variables
                    .iter()
                    .rev()
                    .find_map(|(known, value)| (known == name).then_some(value))
                    .ok_or_else(|| undefined(term.at, name))?,
            ),
            Base::Function(name) => {
                Cow::Owned(functions::call(name, Vec::new()).map_err(|reason| Fault::new(term.at, reason))?)
            }
            Base::Pipeline(pipeline) => Cow::Owned(self.pipeline(pipeline, dot)?),
        };
        let (mut value, mut parent) = (base, None);
        for (at, name) in &term.path {
            value = field(value, *at, parent, name)?;
            parent = Some(name);
        }
        Ok(value)
    }
}

/// How the absent value of a pipeline is printed.
fn absent(pipeline: &Pipeline) -> &'static str {
    let mut path = match pipeline.calls.as_slice() {
        [call] if call.arguments.is_empty() => call.head.path.iter(),
        _ => [].iter(),
    };
    let mut last = || path.next_back().map(|(_, name)| name.as_str());
    let (field, parent) = (last(), last());
    shapes::absent(parent, field)
}

fn check_size(at: usize, size: usize) -> Result<(), Fault> {
    match size > VALUE_LIMIT {
        true => Err(Fault::new(at, "a value is longer than 4 MiB")),
        false => Ok(()),
    }
}

fn undefined(at: usize, name: &str) -> Fault {
    Fault::new(at, format!("undefined variable `${name}`"))
}

/// The member `name` of the value of the field `parent`.
fn field<'a>(
    value: Cow<'a, Value>,
    at: usize,
    parent: Option<&String>,
    name: &str,
) -> Result<Cow<'a, Value>, Fault> {
    let missing = |is_map: bool| match is_map {
        true => Ok(Cow::Owned(Value::Null)),
        false => Err(Fault::new(at, format!("there is no field `{name}` here"))),
    };
    let parent = parent.map(String::as_str);
    match value {
        Cow::Borrowed(Value::Object(map)) => match map.get(name) {
            Some(member) => Ok(Cow::Borrowed(member)),
            None => missing(shapes::is_map(parent, map)),
        },
        Cow::Owned(Value::Object(mut map)) => {
            let is_map = shapes::is_map(parent, &map);
            map.swap_remove(name).map_or_else(|| missing(is_map), |member| Ok(Cow::Owned(member)))
        }
        other if other.is_null() && shapes::absent(None, parent) == "map[]" => missing(true),
        other => Err(Fault::new(at, format!("{} has no field `{name}`", functions::type_name(&other)))),
    }
}

/// `.Label "name"`: a map applied to a key. In the heading of a table the field is a text: the heading is the key.
fn method(value: &Value, arguments: &[Value]) -> Option<Value> {
    let [Value::String(key)] = arguments else { return None };
    match value {
        Value::Object(map) => Some(map.get(key).cloned().unwrap_or_else(|| Value::from(""))),
        Value::String(_) => Some(Value::from(key.rsplit('.').next().unwrap_or(key).to_uppercase())),
        _ => None,
    }
}

fn elements(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => {
            Some(items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect())
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, item)| (Value::from(key), item)).collect();
            entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
            Some(entries)
        }
        _ => None,
    }
}
