//! `holm image tree`: which images stand on which layers.

use std::collections::BTreeMap;

use holm_engine::Engine;
use holm_spec::Digest;
use serde_json::{Value, json};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::size;

/// Show layers as a tree, with the images that end on each
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "The lowest layer comes first; images that share it are its branches. Sizes are those of the layers'
tars.

Examples:
  holm image tree                    all images
  holm image tree debian:12 app      these
  holm image tree --format json"
)]
pub struct Args {
    /// tree, or json
    #[arg(long, value_name = "FORMAT", default_value = "tree", hide_default_value = true,
        value_parser = ["tree", "json"])]
    format: String,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Images, by name, id or digest; all if absent
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

/// A layer, with what stands on it.
#[derive(Debug, Default)]
struct Node {
    size: u64,
    /// Images that end here.
    images: Vec<String>,
    children: BTreeMap<Digest, Node>,
}

/// Shows the tree.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    let root = tree(&engine, &args)?;
    let text = match args.format.as_str() {
        "json" => Value::from(document(&root)).to_string() + "\n",
        _ => {
            let mut text = String::new();
            draw(&mut text, &root, None, !args.no_trunc);
            text
        }
    };
    context.printer.data(text)?;
    Ok(0)
}

fn tree(engine: &Engine, args: &Args) -> Result<Node, CommandError> {
    let store = engine.images();
    let names = match args.images.as_slice() {
        [] => store.list()?.iter().map(|summary| summary.id.to_string()).collect(),
        names => names.to_vec(),
    };
    let mut root = Node::default();
    for name in names {
        let image = store.resolve(&name)?;
        let mut node = &mut root;
        for (diff_id, size) in image.diff_ids.iter().zip(store.layer_sizes(&image.diff_ids)) {
            node = node.children.entry(*diff_id).or_default();
            node.size = size;
        }
        let names = store.names(&image.id)?;
        let mut shown: Vec<String> = names.iter().map(|name| name.reference.familiar()).collect();
        if shown.is_empty() {
            shown.push(image.id.short());
        }
        shown.retain(|name| !node.images.contains(name));
        node.images.extend(shown);
    }
    Ok(root)
}

/// Draws what stands on a layer; the lowest layers without lines.
fn draw(text: &mut String, node: &Node, indent: Option<&str>, shorten: bool) {
    let last = node.children.len().saturating_sub(1);
    for (number, (layer, child)) in node.children.iter().enumerate() {
        let (branch, below) = match (indent, number == last) {
            (None, _) => ("", ""),
            (Some(_), false) => ("├── ", "│   "),
            (Some(_), true) => ("└── ", "    "),
        };
        let indent = indent.unwrap_or_default();
        let id = if shorten { layer.short() } else { layer.to_string() };
        let line =
            format!("{indent}{branch}{id}  {}  {}", size::decimal(child.size), child.images.join(", "));
        text.push_str(line.trim_end());
        text.push('\n');
        draw(text, child, Some(&format!("{indent}{below}")), shorten);
    }
}

fn document(node: &Node) -> Vec<Value> {
    let child = |(layer, child): (&Digest, &Node)| json!({"Layer": layer, "Size": child.size, "Images": child.images, "Children": document(child)});
    node.children.iter().map(child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches() {
        let leaf =
            |image: &str| Node { size: 12_000, images: vec![image.to_owned()], children: BTreeMap::new() };
        let middle = Node { children: BTreeMap::from([(Digest::of(b"c"), leaf("c:1"))]), ..leaf("b:1") };
        let base = Node {
            size: 170_432_000,
            images: vec!["base:1".to_owned(), "base:2".to_owned()],
            children: BTreeMap::from([(Digest::of(b"b"), middle), (Digest::of(b"d"), leaf("d:1"))]),
        };
        let root = Node { children: BTreeMap::from([(Digest::of(b"a"), base)]), ..Node::default() };
        let mut text = String::new();
        draw(&mut text, &root, None, true);
        insta::assert_snapshot!(text, @r"
        ca978112ca1b  170MB  base:1, base:2
        ├── 18ac3e7343f0  12kB  d:1
        └── 3e23e8160039  12kB  b:1
            └── 2e7d2c03a950  12kB  c:1
        ");
    }
}
